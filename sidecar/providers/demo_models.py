"""Three simulated models of rising competence: a question in, what such a model might say out.

Rule 1: no dice. Every roll is a hash of the seed, the model and what was asked: the same question
errs in the same way on each day and in each paraphrase.
Rule 2: each text says that it is simulated, and ends with a line that a machine can read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from hashlib import blake2b
from typing import Final

from sidecar.providers.demo_calendar import WEEKDAYS
from sidecar.providers.demo_values import Question

MARK: Final = "[simulated]"


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoModel:
    """What one simulated model can do, and how fast.

    Attributes:
        model: Its id.
        right_ratios: Share of questions that it answers rightly, by difficulty 1 to 4.
        hedge_ratio: Share of its wrong answers that it says it doubts.
        first_token_s: Time to the first token.
        tokens_per_s: Speed from then on.
        wordings: How it puts an answer; `{meaning}` and `{value}` are filled in.
    """

    model: str
    right_ratios: tuple[float, float, float, float]
    hedge_ratio: float
    first_token_s: float
    tokens_per_s: float
    wordings: tuple[str, ...]


# Chosen, ratios and times alike: far enough apart that a newcomer sees each tier earn its price
# within a few dozen requests. They describe no real model.
MODELS: Final[Mapping[str, DemoModel]] = {
    described.model: described
    for described in (
        DemoModel(
            model="demo-small",
            right_ratios=(0.97, 0.70, 0.25, 0.06),
            hedge_ratio=0.5,
            first_token_s=0.050,
            tokens_per_s=400.0,
            wordings=("{meaning}.", "Here it is: {meaning}."),
        ),
        DemoModel(
            model="demo-medium",
            right_ratios=(0.995, 0.96, 0.88, 0.70),
            hedge_ratio=0.35,
            first_token_s=0.120,
            tokens_per_s=200.0,
            wordings=(
                "The question is {meaning}. Working it out gives {value}.",
                "Working out {meaning} step by step gives {value}.",
            ),
        ),
        DemoModel(
            model="demo-large",
            right_ratios=(1.0, 0.998, 0.99, 0.96),
            hedge_ratio=0.2,
            first_token_s=0.300,
            tokens_per_s=80.0,
            wordings=(
                "This asks for {meaning}. I worked it out in two ways, and both give {value}.",
                "Taking {meaning} one step at a time leads to {value}, and a check agrees.",
            ),
        ),
    )
}

_HEDGES: Final = ("I think it may be {value}, but I am not sure.", "I am not sure about this one.")
_HEDGE_WHEN_RIGHT: Final = 0.03
"""Chosen: doubt must say something about an answer and not everything."""
_DOUBT_SEEN_RATIO: Final = 0.8
"""Chosen: of wrong answers, the share whose log-probabilities are low; of right ones, the rest's
half. A scorer that rests on them gains, and still errs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One answer.

    Attributes:
        value: The value that it gives; empty if the question was not understood.
        text: The whole text.
        seems_sure: The log-probabilities are to look like those of a sure answer.
    """

    value: str
    text: str
    seems_sure: bool


class Dice:
    """Numbers in [0, 1) that depend on the seed and on the words given, and on nothing else."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def roll(self, *words: object) -> float:
        """`Dice(0).roll("a", 1)` is the same number each time."""
        told = "\x1f".join(map(str, (self._seed, *words))).encode()
        return int.from_bytes(blake2b(told, digest_size=8).digest()) / 2**64

    def index(self, size: int, *words: object) -> int:
        """A number below `size`, likewise."""
        return min(size - 1, int(self.roll(*words) * size))


def said(model: DemoModel, question: Question, wording: str, dice: Dice) -> Said:
    """What `model` answers; `wording` is what its way of putting it hangs on, and no value does."""
    rolled = (model.model, question.meaning)
    is_right = dice.roll("right", *rolled) < model.right_ratios[question.difficulty - 1]
    value = question.value if is_right else mistaken(question, dice.index(6, "slip", *rolled))
    hedge_ratio = _HEDGE_WHEN_RIGHT if is_right else model.hedge_ratio
    sentences = [MARK, model.wordings[dice.index(len(model.wordings), "wording", wording, *rolled)]]
    if dice.roll("hedge", *rolled) < hedge_ratio:
        sentences.append(_HEDGES[dice.index(len(_HEDGES), "doubt", *rolled)])
    sentences.append("The answer is {value}.")
    doubt_ratio = (1 - _DOUBT_SEEN_RATIO) / 2 if is_right else _DOUBT_SEEN_RATIO
    return Said(
        value=value,
        text=" ".join(sentences).format(meaning=question.meaning, value=value),
        seems_sure=dice.roll("sure", *rolled) >= doubt_ratio,
    )


def unable(text: str) -> Said:
    """The honest answer to a question that no family knows."""
    asked = " ".join(text.split())[:80] or "nothing"
    told = (
        f"{MARK} No real model stands behind this. I was asked: {asked!r}, and can only do small "
        "sums, units, percentages, dates, sorting, letters, primes and short word problems."
    )
    return Said(value="", text=told, seems_sure=False)


def as_json(answer: Said, *, is_strict: bool) -> str:
    """The answer as a JSON object; `is_strict` leaves out the mark, which a schema would forbid."""
    told = {"answer": answer.value or answer.text}
    return json.dumps(told if is_strict else told | {"simulated": True})


def mistaken(question: Question, slip: int) -> str:
    """A wrong value such as one makes it, never the right one; `slip` (0 to 5) says which."""
    match question.kind:
        case "number":
            return _miscounted(question.value, slip)
        case "weekday":
            step = 1 if slip % 2 else -1
            return WEEKDAYS[(WEEKDAYS.index(question.value) + step) % 7]
        case "date":
            day = date.fromisoformat(question.value)
            step = 1 if (slip % 2 and day < date.max) or day == date.min else -1
            return (day + timedelta(days=step)).isoformat()
        case "truth":
            return "no" if question.value == "yes" else "yes"
        case "list":
            return _misordered(question.value.split(", "), slip)


def _miscounted(value: str, slip: int) -> str:
    """One off in the last place, a forgotten carry, or two digits the wrong way round."""
    number = Decimal(value)
    digits = value.lstrip("-")
    if slip >= 4 and len(digits) > 1 and digits[-2:].isdigit() and digits[-1] != digits[-2]:  # noqa: PLR2004 - the last two of six slips
        return value[:-2] + value[-1] + value[-2]
    ones = Decimal(1).scaleb(int(number.as_tuple().exponent))
    size = ones * 10 if slip >= 2 and abs(number) >= ones * 10 else ones  # noqa: PLR2004 - the next two slips
    return format(number + (size if slip % 2 else -size), "f")


def _misordered(items: list[str], slip: int) -> str:
    """Two neighbours that differ changed places; one item left out if none differ."""
    uneven = [place for place in range(len(items) - 1) if items[place] != items[place + 1]]
    if not uneven:
        return ", ".join(items[1:])
    place = uneven[slip % len(uneven)]
    items[place], items[place + 1] = items[place + 1], items[place]
    return ", ".join(items)
