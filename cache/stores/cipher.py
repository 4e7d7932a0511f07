"""What seals the words of a row where a key is given: the shape of it, and how it is bound.

Sealed are a question, an answer, a vector (which tells roughly what was asked) and what was learnt
of them. In clear stay what a store searches by: fingerprints, tenants, tags, models, times, counts.
A store is of one key from its beginning: `mark` goes into the file's header, and a file of another
key, or of none, is a foreign one and put aside like any other.
"""

from __future__ import annotations

from typing import Protocol


class Cipher(Protocol):
    """One key, ready for use; called from several threads at once.

    Attributes:
        mark: 31 bits that tell one key from another and nothing else of it; never 0.
    """

    @property
    def mark(self) -> int:
        """See above."""
        ...

    def seal(self, data: bytes, bound_to: bytes) -> bytes:
        """`data`, sealed for that place."""
        ...

    def open(self, sealed: bytes, bound_to: bytes) -> bytes | None:
        """What was sealed; None if it does not open: another key, another place, or torn."""
        ...


def mark_of(cipher: Cipher | None) -> int:
    """What a file is known by; 0 for one that is not sealed."""
    return 0 if cipher is None else cipher.mark


def place(entry_id: int, field: str) -> bytes:
    """What a sealed field is bound to: an id is never used again, so no row takes another's."""
    return f"{field} {entry_id}".encode()
