"""The verifier's last verdicts, so that a pair that comes again is not put to it again.

A question in other words is asked by more than one, and each time it is near to the same entry. A
verdict follows from the two texts and the weights alone, so that it holds as long as the process.
It is remembered by the entry, which is one partition's: a text that somebody else asked about is
looked at twice all the same, so that nobody can tell from a millisecond what was asked by others.
"""

from __future__ import annotations

from collections import OrderedDict
from hashlib import blake2b
from typing import Final

from cache.entry import EntryId
from cache.verifier import Verifier

MAX_REMEMBERED: Final = 2_048
"""Chosen: 0.2 kB each; as many as twice the texts whose vectors are remembered."""


class Verdicts:
    """Stands before a verifier. Its owner's thread owns it."""

    def __init__(self, verifier: Verifier) -> None:
        self._verifier = verifier
        self._held: OrderedDict[tuple[EntryId, bytes], float] = OrderedDict()

    def verdict(self, entry_id: EntryId | None, kept: str, asked: str) -> float | None:
        """The verifier's; without an entry nothing is remembered, nor is it that there is none."""
        if entry_id is None:
            return self._verifier.verdict(kept, asked)
        both = f"{len(kept)} {kept}{asked}".encode(errors="surrogatepass")
        key = entry_id, blake2b(both, digest_size=16).digest()
        if (held := self._held.get(key)) is not None:
            self._held.move_to_end(key)
            return held
        verdict = self._verifier.verdict(kept, asked)
        if verdict is not None:
            self._held[key] = verdict
            if len(self._held) > MAX_REMEMBERED:
                self._held.popitem(last=False)
        return verdict
