"""Pairs of questions that one answer was wrongly given to in, "rejected before" out.

A rejected pair stands for its neighbourhood. Asked about a pair (question, entry), it is rejected
if the one lies at least as near to one side of a pair remembered, and the other to its other side,
as the two lie to each other: they look more like that pair than like one another. So the very pair
is refused, whichever of the two is the entry, and so are questions nearer to the rejected question
than to the entry's own; a paraphrase on the entry's side is not. Nor is what the guard tells apart
from the pair: to the encoder, "12 plus 7" and "13 plus 7" are nearer than two wordings of either.

Memory is shared by tenants: when it is full, the tenant with the most pairs forgets, of its
partitions the one least recently asked about. One that rejects without end forgets its own.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cache.entry import Vector
from cache.facets import facets
from cache.guard import compare

MAX_PAIRS: Final = 4096
"""Chosen: 12 MiB at 384 dimensions, and the texts."""

MAX_PARTITION_PAIRS: Final = 128
"""Chosen: comparing with them takes some 20 microseconds of a caller's time; the oldest leave."""

MAX_TEXT: Final = 2_000
"""Chosen: characters; the encoder's window holds some 1,200 of ordinary English, and no limit of
others. A longer text is not kept, and the guard then tells nothing from it: too much is refused."""

_ROUNDING: Final = 1e-6
"""Chosen: two float32 inner products of the same vectors differ by less."""


class Question(NamedTuple):
    """A question's text and its unit vector, (dim,) float32."""

    text: str
    vector: Vector


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """One rejected pair.

    Attributes:
        tenant: Whose.
        asked: The question that was answered wrongly.
        kept: The question whose answer it got.
        vectors: Of both, (2, dim) float32.
    """

    tenant: str
    asked: str
    kept: str
    vectors: NDArray[np.float32]


@dataclass(slots=True, eq=False)
class _Held:
    """A partition's pairs; the three lists and the rows run alongside."""

    tenant: str
    rows: NDArray[np.float32]  # (n, 2, dim)
    texts: list[tuple[str, str]] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)


PairId = tuple[bytes, int]
"""The partition, and a number that rises with each pair ever rejected."""


class Rejections:
    """The pairs remembered, by partition. One owner; nothing in here takes a lock.

    Attributes:
        changed: Pairs that were added or forgotten since somebody cleared it.
    """

    def __init__(self) -> None:
        self.changed: set[PairId] = set()
        self._held: OrderedDict[bytes, _Held] = OrderedDict()
        self._counts: Counter[str] = Counter()
        self._next = 1

    def __len__(self) -> int:
        return self._counts.total()

    def __iter__(self) -> Iterator[tuple[PairId, Pair]]:
        for partition, held in self._held.items():
            for row, number in enumerate(held.numbers):
                yield (partition, number), _pair(held, row)

    def find(self, pair_id: PairId) -> Pair | None:
        """One pair; None if it is not remembered."""
        partition, number = pair_id
        held = self._held.get(partition)
        if held is None or number not in held.numbers:
            return None
        return _pair(held, held.numbers.index(number))

    def add(self, partition: bytes, asked: Question, kept: Question, tenant: str = "") -> None:
        """Remember that the answer kept for the one question does not serve the other."""
        vectors = np.stack([asked.vector, kept.vector])
        pair = Pair(tenant, _short(asked.text), _short(kept.text), vectors)
        self.resume((partition, self._next), pair)

    def resume(self, pair_id: PairId, pair: Pair) -> None:
        """Remember a pair under its own number; pairs come in the order of their numbers."""
        partition, number = pair_id
        held = self._held.get(partition)
        if held is None:
            held = self._held[partition] = _Held(pair.tenant, pair.vectors[np.newaxis][:0])
        held.rows = np.concatenate([held.rows, pair.vectors[np.newaxis]])
        held.texts.append((pair.asked, pair.kept))
        held.numbers.append(number)
        self._next = max(self._next, number + 1)
        self._counts[held.tenant] += 1
        self.changed.add(pair_id)
        self._held.move_to_end(partition)
        self._forget_oldest(partition, len(held.numbers) - MAX_PARTITION_PAIRS)
        while len(self) > MAX_PAIRS:
            self._make_room()

    def _forget_oldest(self, partition: bytes, count: int) -> None:
        if count <= 0:
            return
        held = self._held[partition]
        self.changed |= {(partition, number) for number in held.numbers[:count]}
        self._counts -= Counter({held.tenant: min(count, len(held.numbers))})  # drops zeros
        held.rows = held.rows[count:]
        del held.texts[:count], held.numbers[:count]
        if not held.numbers:
            del self._held[partition]

    def _make_room(self) -> None:
        [(most, _)] = self._counts.most_common(1)
        oldest = next(part for part, held in self._held.items() if held.tenant == most)
        self.forget(oldest)

    def forget(self, partition: bytes) -> None:
        """Remember nothing of one partition."""
        if (held := self._held.get(partition)) is not None:
            self._forget_oldest(partition, len(held.numbers))

    def partitions_of(self, tenant: str | None) -> list[bytes]:
        """Those of one tenant with a pair; of all for None."""
        return [part for part, held in self._held.items() if tenant in {None, held.tenant}]

    def holds(self, partition: bytes, asked: Question, kept: Question) -> bool:
        """Whether serving `asked` from the entry of `kept` was rejected before."""
        held = self._held.get(partition)
        if held is None:
            return False
        self._held.move_to_end(partition)
        # One row a side: a matrix times a vector, where (n, 2, dim) would be n small products.
        sides = held.rows.reshape(-1, held.rows.shape[-1])  # (2 n, dim)
        to_asked = (sides @ asked.vector).reshape(-1, 2)  # (n, 2)
        to_kept = (sides @ kept.vector).reshape(-1, 2)
        enough = float(asked.vector @ kept.vector) - _ROUNDING
        straight = (to_asked[:, 0] >= enough) & (to_kept[:, 1] >= enough)
        crossed = (to_asked[:, 1] >= enough) & (to_kept[:, 0] >= enough)
        texts = held.texts
        return any(_are_alike(asked, kept, texts[row]) for row in np.flatnonzero(straight)) or any(
            _are_alike(kept, asked, texts[row]) for row in np.flatnonzero(crossed)
        )


def _short(text: str) -> str:
    return text if len(text) <= MAX_TEXT else ""


def _pair(held: _Held, row: int) -> Pair:
    return Pair(held.tenant, *held.texts[row], held.rows[row])


def _are_alike(one: Question, other: Question, pair: tuple[str, str]) -> bool:
    """The guard tells neither question from its side of the pair."""
    sides = zip((one.text, other.text), pair, strict=True)
    return not any(
        side and text != side and compare(facets(text), facets(side)).veto for text, side in sides
    )
