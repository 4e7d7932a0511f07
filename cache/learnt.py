"""What was learnt of hits, as values that one process gives and a later one takes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field

from cache.entry import EntryId
from cache.rejections import Pair, PairId
from cache.standing import Memo


@dataclass(slots=True, eq=False)
class Proof:
    """What one entry stood.

    Attributes:
        tenant: Whose it is.
        right: Other questions that it served well.
        questions: Digests of near misses that it may serve all the same, the oldest first.
    """

    tenant: str
    right: int = 0
    questions: OrderedDict[bytes, None] = field(default_factory=OrderedDict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Learnt:
    """What was learnt, or what changed of it; None stands for what was forgotten.

    Attributes:
        bound: Under which the alarms rose to their levels.
        right: See Trust.
        wrong: See Trust.
        partitions: The standings.
        entries: What entries stood.
        pairs: Rejected ones.
    """

    bound: float
    right: int
    wrong: int
    partitions: Mapping[bytes, Memo | None]
    entries: Mapping[EntryId, Proof | None]
    pairs: Mapping[PairId, Pair | None]
