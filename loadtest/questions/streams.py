"""The demo's traffic: a seed in, an endless stream of questions with their right answers out."""

from __future__ import annotations

import itertools
import re
from bisect import bisect
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Final, Literal

from loadtest.questions.families import FAMILIES
from loadtest.questions.family import Family, Params

Origin = Literal["popular", "new", "lookalike"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamConfig:
    """What the traffic is like.

    Attributes:
        meanings: How many popular questions there are.
        exponent: Zipf's: the k-th most popular is asked in proportion to 1 / k ** exponent.
        new_ratio: Share of questions that nobody asked before.
        lookalike_ratio: Share of look-alikes of popular questions: another number or direction.
        stream_ratio: Share of requests that ask for a stream.

    Raises:
        ValueError: A share lies outside [0, 1], or there is no meaning.
    """

    # Chosen: a hit ratio of about a half, as the published traces of chat traffic show it, and
    # enough look-alikes that a careless cache stands out. Each is a flag of the load test.
    meanings: int = 200
    exponent: float = 1.0
    new_ratio: float = 0.2
    lookalike_ratio: float = 0.1
    stream_ratio: float = 0.3

    def __post_init__(self) -> None:
        ratios = (self.new_ratio, self.lookalike_ratio, self.stream_ratio)
        if not all(0.0 <= ratio <= 1.0 for ratio in ratios) or sum(ratios[:2]) > 1.0:
            raise ValueError(f"shares must lie in [0, 1], and new + lookalike too; are {ratios}")
        if self.meanings < 1:
            raise ValueError("a stream needs at least one meaning")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One question of the stream.

    Attributes:
        text: As it is sent.
        meaning: What it asks, whatever the wording.
        answer: The right value.
        is_stream: It is to be asked as a stream.
        origin: Where in the traffic it comes from.
    """

    text: str
    meaning: str
    answer: str
    is_stream: bool
    origin: Origin


def zipf_weights(size: int, exponent: float) -> list[float]:
    """Running sums of 1 / rank ** exponent, to `bisect` in: `zipf_weights(2, 1) == [1.0, 1.5]`."""
    return list(itertools.accumulate(rank**-exponent for rank in range(1, size + 1)))


def zipf_place(sums: list[float], rng: Random) -> int:
    """A rank, 0 the most popular, drawn by those sums."""
    return min(bisect(sums, rng.random() * sums[-1]), len(sums) - 1)


def demo_stream(seed: int, config: StreamConfig, *, sender: int = 0) -> Iterator[Asked]:
    """Questions without end; the same seed has the same popular ones, each sender its own order."""
    popular = _popular(Random(seed), config.meanings)
    rng = Random(f"{seed}/{sender}")
    sums = zipf_weights(len(popular), config.exponent)
    while True:
        family, params = popular[zipf_place(sums, rng)]
        origin: Origin = "popular"
        roll = rng.random()
        if roll < config.new_ratio:
            family = rng.choice(FAMILIES)
            params, origin = family.draw(rng), "new"
        elif roll < config.new_ratio + config.lookalike_ratio:
            params, origin = family.vary(params, rng), "lookalike"
        yield Asked(
            text=rng.choice(family.phrasings(params)),
            meaning=meaning_of(family, params),
            answer=family.answer(params),
            is_stream=rng.random() < config.stream_ratio,
            origin=origin,
        )


def _popular(rng: Random, size: int) -> list[tuple[Family, Params]]:
    """Distinct questions, all families in turn so that each popularity holds every kind."""
    seen: dict[str, tuple[Family, Params]] = {}
    for family in itertools.islice(itertools.cycle(FAMILIES), 100 * size):
        params = family.draw(rng)
        seen.setdefault(meaning_of(family, params), (family, params))
        if len(seen) == size:
            break
    return list(seen.values())


def meaning_of(family: Family, params: Params) -> str:
    """The name of what is asked; what stands in no answer (a name, an order) is left out."""
    told = {"sorting": params[:2], "purchase": params[:3]}.get(family.name, params)
    return f"{family.name} {' '.join(map(str, told))}"


_ANSWER: Final = re.compile(r"The answer is (.+?)\.?\s*$")


def value_of(text: str) -> str | None:
    """The value in an answer's last line: `value_of("So. The answer is 19.") == "19"`."""
    found = _ANSWER.search(text)
    return found[1] if found else None
