"""Pairs of questions that one answer was wrongly given to in, "rejected before" out.

A rejected pair stands for its neighbourhood. Asked about a pair (question, entry), it is rejected
if the one lies at least as near to one side of a pair remembered, and the other to its other side,
as the two lie to each other: they look more like that pair than like one another. So the very pair
is refused, whichever of the two is the entry, and so are questions nearer to the rejected question
than to the entry's own; a paraphrase on the entry's side is not. Nor is what the guard tells apart
from the pair: to the encoder, "12 plus 7" and "13 plus 7" are nearer than two wordings of either.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cache.entry import Vector
from cache.facets import facets
from cache.guard import compare

MAX_PAIRS: Final = 4096
"""Chosen: 12 MiB at 384 dimensions; the partition least recently asked about forgets first."""

MAX_PARTITION_PAIRS: Final = 128
"""Chosen: comparing with them takes some 20 microseconds of a caller's time; the oldest leave."""

_ROUNDING: Final = 1e-6
"""Chosen: two float32 inner products of the same vectors differ by less."""


class Question(NamedTuple):
    """A question's text and its unit vector, (dim,) float32."""

    text: str
    vector: Vector


class Rejections:
    """The pairs remembered, by partition. One owner; nothing in here takes a lock."""

    def __init__(self) -> None:
        self._pairs: OrderedDict[bytes, NDArray[np.float32]] = OrderedDict()  # (n, 2, dim)
        self._texts: dict[bytes, list[tuple[str, str]]] = {}  # the same n
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, partition: bytes, asked: Question, kept: Question) -> None:
        """Remember that the answer kept for the one question does not serve the other."""
        pair = np.stack([asked.vector, kept.vector])[np.newaxis]  # (1, 2, dim)
        held = self._pairs.get(partition)
        whole = pair if held is None else np.concatenate([held, pair])[-MAX_PARTITION_PAIRS:]
        self._count += len(whole) - (0 if held is None else len(held))
        self._pairs[partition] = whole
        texts = [*self._texts.get(partition, ()), (asked.text, kept.text)]
        self._texts[partition] = texts[-MAX_PARTITION_PAIRS:]
        self._pairs.move_to_end(partition)
        while self._count > MAX_PAIRS:
            oldest, gone = self._pairs.popitem(last=False)
            self._count -= len(gone)
            del self._texts[oldest]

    def holds(self, partition: bytes, asked: Question, kept: Question) -> bool:
        """Whether serving `asked` from the entry of `kept` was rejected before."""
        pairs = self._pairs.get(partition)
        if pairs is None:
            return False
        self._pairs.move_to_end(partition)
        # One row a side: a matrix times a vector, where (n, 2, dim) would be n small products.
        sides = pairs.reshape(-1, pairs.shape[-1])  # (2 n, dim)
        to_asked = (sides @ asked.vector).reshape(-1, 2)  # (n, 2)
        to_kept = (sides @ kept.vector).reshape(-1, 2)
        enough = float(asked.vector @ kept.vector) - _ROUNDING
        straight = (to_asked[:, 0] >= enough) & (to_kept[:, 1] >= enough)
        crossed = (to_asked[:, 1] >= enough) & (to_kept[:, 0] >= enough)
        texts = self._texts[partition]
        return any(_are_alike(asked, kept, texts[row]) for row in np.flatnonzero(straight)) or any(
            _are_alike(kept, asked, texts[row]) for row in np.flatnonzero(crossed)
        )


def _are_alike(one: Question, other: Question, pair: tuple[str, str]) -> bool:
    """The guard tells neither question from its side of the pair."""
    sides = zip((one.text, other.text), pair, strict=True)
    return not any(
        text != side and compare(facets(text), facets(side)).veto for text, side in sides
    )
