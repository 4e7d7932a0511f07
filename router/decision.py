"""What the router is asked, and what it says: the values that travel between it and the sidecar."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from router.readings import Readings

Vector = NDArray[np.float32]
"""Shape (dim,), float32, length 1."""


class Task(NamedTuple):
    """One question that no cache could answer.

    Attributes:
        text: What the user asked in the last turn (the text that was embedded).
        vector: Its unit vector; None if the encoder had no time: then the default tier is chosen.
        tokens_in: Estimated tokens of the whole prompt, earlier turns included.
        turns: Messages in the conversation, this one included.
        allowed: Places that may take it, rising, never empty: capability, floor, ceiling and pin
            are settled already.
        quality: 0 = always the cheapest allowed tier, 1 = the best answer whatever it costs; in
            between, the whole cost-quality curve.
        budget_usd: What this request may cost in all; None if the caller set no limit.
        left_s: Time until the deadline that the caller set; None if he set none.
        latency_s: By place, how long a whole answer usually takes; 0 where that is not known.
        is_live: The answer is to be relayed as it comes, so that one tier is asked and no more.
        price: Points of quality that a dollar must buy, where a goal is held; None: as `quality`
            says.
        is_wary: Traffic of late is unlike what the artifact was fitted on.
        kept_place: The tier that the conversation had; None if it is to be chosen afresh.
        readings: What was read of it and its answers so far: the one thing in here that changes.
            None where nothing is read, or is read anew each time.
        unit: Whom a trial of another artifact is drawn by: the user, or the request itself.
    """

    text: str
    vector: Vector | None
    tokens_in: int
    turns: int
    allowed: tuple[int, ...]
    quality: float
    budget_usd: float | None = None
    left_s: float | None = None
    latency_s: tuple[float, ...] = ()
    is_live: bool = False
    price: float | None = None
    kept_place: int | None = None
    is_wary: bool = False
    unit: str = ""
    readings: Readings | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """The numbers behind a choice; its `str` tells them.

    Put into words only where somebody asks: that takes a fifth of a decision's time.

    Attributes:
        right: By place, the chance that its answer suffices.
        gain: By plan, what it gains.
        cost_usd: By place, what it is likely to cost.
        price: Points of quality that a dollar must buy.
    """

    right: tuple[float, ...]
    gain: Mapping[tuple[int, ...], float]
    cost_usd: tuple[float, ...]
    price: float

    def __str__(self) -> str:
        """For the debug header."""
        right = " ".join(f"{chance:.2f}" for chance in self.right)
        gain = " ".join(
            f"{'+'.join(map(str, plan))}:{value:.2f}" for plan, value in self.gain.items()
        )
        usd = " ".join(f"{value:.5f}" for value in self.cost_usd)
        return f"right {right}; gain {gain}; usd {usd}; price {self.price:.0f}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Which tier to ask first.

    Attributes:
        entry: Its place.
        probabilities: For each place on the ladder, the calibrated chance that this tier's answer
            suffices; empty if nothing was estimated (pinned, no artifact, no vector).
        reason: One of a closed set of words, for the metric label: `pinned`, `only_one`, `policy`,
            `explored`, `sticky` (the conversation's tier), `rule`, `leaned` (unlike all that was
            learnt from, so by averages alone), `default` (no artifact or no vector).
        detail: The numbers behind it, for the debug header.
        propensity: Probability with which this entry tier was drawn, in (0, 1]; 1 unless explored.
        final: True if no answer of the entry tier could make escalation pay: then a stream is
            relayed as it comes, with no need to hold it back for judging.
        strangeness: Share of the training rows that lie nearer to what was known, in [0, 1]; None
            if that is not known.
        version: Of the artifact that decided; empty if none was asked.
        role: Its part: `serving` or `canary`; empty if none was asked.
        rival: Version of a candidate that was asked beside it, and not heeded; empty if none was.
        rival_entry: Where the rival would have begun; None if it failed.
    """

    entry: int
    probabilities: tuple[float, ...]
    reason: str
    detail: Told | str = ""
    propensity: float = 1.0
    final: bool = True
    strangeness: float | None = None
    version: str = ""
    role: str = ""
    rival: str = ""
    rival_entry: int | None = None


class AnswerView(NamedTuple):
    """One tier's answer, as far as the judgement needs it.

    Attributes:
        text: The message's content, empty if it has none.
        finish_reason: The vendor's word (`stop`, `length`, `tool_calls`, `content_filter`).
        tokens_out: Completion tokens.
        logprobs: Log probabilities of the answer's tokens where the vendor gave them.
        has_tool_calls: The message calls tools, whose arguments parsed as JSON.
        is_malformed: A JSON schema or tool arguments were asked for, and the answer does not parse.
    """

    text: str
    finish_reason: str
    tokens_out: int
    logprobs: tuple[float, ...] | None = None
    has_tool_calls: bool = False
    is_malformed: bool = False


class Judgement(NamedTuple):
    """What is known once one tier or more have answered.

    Attributes:
        best: Place of the answer with the best estimate among those held; serve this one, which
            need not be the last.
        confidence: Calibrated chance that the best answer suffices, in [0, 1].
        next_place: The tier above that pays; None if none does.
        reason: One of a closed set of words: `confident`, `escalate`, `hard_failure` (truncated,
            empty, malformed), `too_dear`, `too_slow`, `top`, `pinned`.
        detail: What failed, and the numbers behind it, each with its `str`, for the debug header.
        probabilities: As in Decision, given all answers held.
    """

    best: int
    confidence: float
    next_place: int | None
    reason: str
    detail: tuple[Told | str, ...] = ()
    probabilities: tuple[float, ...] = ()
