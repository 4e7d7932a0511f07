"""The cache with its I/O: `cache` remembers, this room looks, keeps and writes.

Takes:      questions to look for; answers to keep and keys to forget.
Gives:      a hit or a miss, in time and never an error; an index that grows beside its searches.
May touch:  the encoder's thread, the disk through `cache.stores`, threads of its own.
Never:      what may serve whom: vetoes, risk and trust are `cache`'s.
Owner:      the event loop owns memory, the encoder's thread the index, persistence its two threads.
"""
