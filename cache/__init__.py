"""Answers already given, found again by key or by meaning.

Takes:      requests as plain values, unit vectors, instants, and entries to keep.
Gives:      keys, permits, entries, candidates; never an exception that is not a CacheError.
May touch:  numpy; faiss in `index`; the disk in `stores`.
Never:      an event loop, network, clock (instants are handed in), logging, `router`, `sidecar`.
Owner:      whoever built the part; nothing in here takes a lock.
"""
