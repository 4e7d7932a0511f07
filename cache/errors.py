"""What can go wrong while remembering; the sidecar turns each into a miss.

CacheError
├── DuplicateEntry           an id is in the index already: a bug in whoever hands out ids
├── StoreError               the disk store could not be opened, read or written
├── ExchangeError            a file of kept answers is none, of another schema, or was changed
└── RiskModelError           the risk model's file is missing, torn or of another make
"""

from __future__ import annotations


class CacheError(Exception):
    """Base of all faults of the cache."""


class DuplicateEntry(CacheError):
    """An id is taken already."""

    def __init__(self, entry_id: int) -> None:
        super().__init__(f"entry {entry_id} is already in the index")
        self.entry_id = entry_id


class StoreError(CacheError):
    """The disk store could not be opened, read or written."""


class ExchangeError(CacheError):
    """A file of kept answers is none, of another schema, or was changed."""


class RiskModelError(CacheError):
    """The risk model's file is missing, torn or of another make."""
