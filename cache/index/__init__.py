"""Unit vectors in, the ids of the nearest entries out: one index a partition.

In one of two layouts over one code. The code is a byte a dimension over a fixed range, so that a
row may go from one layout to the other as it is, and 384 dimensions take 384 bytes; whoever
searches compares what is found with the vectors themselves (`cache.semantic`). Rows in a row are
for the many small partitions: nothing is trained, a search reads them all, and one row takes 3
microseconds. Rows in cells are for the few large ones.

Takes:      unit vectors and ids; rows of another index as they are kept.
Gives:      neighbours, rows, cells; never an exception that is not a CacheError.
May touch:  numpy, faiss: this room is its door, and `codes` translates its faults.
Never:      an entry, a partition's name, the disk.
Owner:      one thread for each index; what another one fills, nobody asks yet.
"""
