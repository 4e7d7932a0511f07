"""What is kept, what is found, and what is said when nothing is."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from cache.guard import Comparison

Vector = NDArray[np.float32]
"""Shape (dim,), float32, length 1: the inner product of two is their cosine similarity."""

EntryId = int
"""Rises by one with each entry ever kept; never used again, not after a restart either."""


UNKNOWN_PROMPT: Final = "?"
"""The `prompt` of an entry from before entries told theirs: any invalidation by prompt names it."""


class MissReason(Enum):
    """Why nothing was found; also the `reason` label of the miss counter."""

    NOT_CACHEABLE = "not_cacheable"  # the policy forbids reading: see the permit's own reason
    NO_MEANING = "no_meaning"  # the question cannot be embedded whole: exact only
    EMPTY = "empty"  # the partition holds no entry
    NOTHING_NEAR = "nothing_near"  # the nearest entry lies below the similarity threshold
    VETO = "veto"  # near, and yet a number, name, negation or the like differs
    RISKY = "risky"  # near, and yet the chance of a false hit is above the bound
    COLD = "cold"  # the partition is being read from disk
    GONE = "gone"  # found in the index, evicted or expired in the store
    OFF = "off"  # the semantic tier is switched off
    OVER_BUDGET = "over_budget"  # lookup took longer than it may
    FAULT = "fault"  # encoder, index or store failed


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Entry:
    """One kept answer.

    Attributes:
        entry_id: See EntryId.
        fingerprint: Exact key, 20 bytes (`cache.key`).
        partition: Whose questions may be compared with this one, 20 bytes; None if exact only.
        question: The text that was embedded; empty if exact only.
        vector: Its unit vector, (dim,) float32; None if exact only.
        body: The answer as a JSON object, `chat.completion` less its `id` and `created`.
        tier: Name of the tier that answered.
        model: The vendor's model id that answered.
        tokens_in: Prompt tokens that the answer was billed for.
        tokens_out: Completion tokens that the answer was billed for.
        cost_usd: What the answer cost, escalations included.
        created_at: Seconds since the epoch, UTC.
        expires_at: Seconds since the epoch, UTC; from then on it is not served.
        tags: The caller's tags, for invalidation.
        tenant: Whose answer it is.
        namespace: The caller's partition within the tenant.
        epoch: The newest invalidation when its question was asked, see `cache.epochs`.
        prompt: Version of the prompt it was answered under, see `cache.prompt`; empty if none.
    """

    entry_id: EntryId
    fingerprint: bytes
    partition: bytes | None
    question: str
    vector: Vector | None
    body: bytes
    tier: str
    model: str
    tokens_in: int
    tokens_out: int
    cost_usd: Decimal
    created_at: float
    expires_at: float
    tags: tuple[str, ...] = ()
    tenant: str = ""
    namespace: str = ""
    epoch: int = 0
    prompt: str = ""


@dataclass(frozen=True, slots=True)
class Hit:
    """An answer already given to this question, or to one that means the same.

    Attributes:
        kind: Found by key, or by meaning.
        entry: What to serve.
        similarity: Cosine to the entry's question, in [-1, 1]; 1.0 for an exact hit.
        risk: Calibrated chance that the hit is false, in [0, 1]; 0.0 for an exact hit.
        vector: Of the question that was asked; None for an exact hit.
        found: What it was chosen from; None for an exact hit.
        store: Where the entry was found.
    """

    kind: Literal["exact", "semantic"]
    entry: Entry
    similarity: float = 1.0
    risk: float = 0.0
    vector: Vector | None = field(default=None, compare=False, repr=False)
    found: Found | None = field(default=None, compare=False, repr=False)
    store: Literal["memory", "disk"] = "memory"


@dataclass(frozen=True, slots=True, eq=False)
class Miss:
    """Nothing found. Carries the vector on, so that nobody encodes again.

    Attributes:
        reason: Why.
        detail: The reason in words, for the debug header; empty if there is no more to say.
        vector: The question's vector, if there was time to make one.
        nearest: Similarity of the nearest entry in the partition, if one was looked at.
        withheld: The hit that was not served and is worth a check: in shadow mode, in a partition
            that is off, or a near miss. Its reason tells which: OFF, or RISKY.
        found: What was near, if something was sought.
    """

    reason: MissReason
    detail: str = ""
    vector: Vector | None = None
    nearest: float | None = None
    withheld: Hit | None = None
    found: Found | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """One near entry, judged. Ordered best first in `Found.accepted`.

    Attributes:
        entry_id: Of the entry.
        similarity: Cosine to its question, in [-1, 1].
        risk: Calibrated chance that the hit is false, in [0, 1].
        below: The entry itself, should memory not hold it.
    """

    entry_id: EntryId
    similarity: float
    risk: float
    below: Entry | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Judged:
    """One near entry, and what was thought of it.

    Attributes:
        candidate: Its id, similarity and risk.
        comparison: How the two questions differ.
        reason: Why it may not be served; None if it may.
        detail: That reason in words.
        verdict: The verifier's logit; None if it was not asked, or gave none.
    """

    candidate: Candidate
    comparison: Comparison
    reason: MissReason | None
    detail: str
    verdict: float | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """What the semantic tier found in one partition.

    Attributes:
        accepted: Entries that may be served, best first; empty on a miss.
        reason: Why `accepted` is empty; None if it is not.
        detail: That reason in words (which veto, what risk against which limit).
        nearest: The nearest entry, served or not; None in an empty partition.
        judged: What was thought of each near entry, the nearest first.
        limit: Risk up to which an open partition serves; None if the bound cannot be held.
    """

    accepted: tuple[Candidate, ...]
    reason: MissReason | None
    detail: str = ""
    nearest: Candidate | None = None
    judged: tuple[Judged, ...] = ()
    limit: float | None = None
