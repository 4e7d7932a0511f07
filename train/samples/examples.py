"""One question and the tiers' answers to it, as every verb of training reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from router.decision import AnswerView, Task
from router.readings import Readings


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """One tier's answer to one question.

    Attributes:
        text: What it said.
        tokens_in: Prompt tokens.
        tokens_out: Completion tokens.
        cost_usd: What it cost.
        correct: How good it was, 0 to 1; None if nobody said.
        finish_reason: The vendor's word.
        confidence: The chance of sufficing that it was judged by; None if it was not judged.
        share: The chance with which it was asked, given what was asked before: 1 on the climb,
            less where it was asked in shadow.
    """

    text: str
    tokens_in: int
    tokens_out: int
    cost_usd: float
    correct: float | None
    finish_reason: str = "stop"
    confidence: float | None = None
    share: float = 1.0

    @property
    def view(self) -> AnswerView:
        """As the router's judgement sees it."""
        return AnswerView(
            text=self.text, finish_reason=self.finish_reason, tokens_out=self.tokens_out
        )


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Example:
    """One question, and what is known of the tiers' answers to it.

    Attributes:
        query: The text that is embedded.
        answers: By tier.
        domain: Where it comes from, for tables by domain; empty if not said.
        vector: (dim,) float32, if it came with the record.
        weight: One over the chance with which its entry tier was drawn, at most MAX_WEIGHT.
        artifact: Version of the artifact that routed and judged it; empty if none did.
        at: When it was asked first, in seconds since the epoch; 0 if that is not known.
    """

    query: str
    answers: Mapping[str, Answered]
    domain: str = ""
    vector: NDArray[np.float32] | None = None
    weight: float = 1.0
    artifact: str = ""
    at: float = 0.0

    @property
    def tokens_in(self) -> int:
        """Prompt tokens, as the first answer was billed for them."""
        return next(iter(self.answers.values())).tokens_in

    def task(self, vector: NDArray[np.float32], tiers: int, quality: float) -> Task:
        """The router's task for it, every tier allowed."""
        return Task(
            text=self.query,
            vector=vector,
            tokens_in=self.tokens_in,
            turns=1,
            allowed=tuple(range(tiers)),
            quality=quality,
            readings=Readings(),
        )
