"""Where entries lie: one file a store.

Takes:      entries, fingerprints, ids, instants.
Gives:      entries; StoreError when the medium fails.
May touch:  memory in `memory.py`; SQLite in `disk.py`.
Never:      vectors' meaning, an event loop, a thread of its own.
Owner:      whoever built the store calls it from one thread.
"""
