"""What a bench asks: a path in, the bytes of its requests out, as many as are wanted."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from loadtest.servers.contenders import BASELINE, Contender
from loadtest.speed.hops import fresh_questions

HIT: Final = "How do I measure a hit?"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """What is asked of a server.

    Attributes:
        name: Of the row.
        body: Of each request, but for its question.
        headers: By whom it is asked of.
        is_fresh: Each question is a new one.
        bare: Where on the baseline the same is to be had; empty if nowhere.
        needs: What another gateway must do to be asked.
        expects: In the head of each answer of ours, in lower case.
    """

    name: str
    body: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    is_fresh: bool = False
    bare: str = ""
    needs: str
    expects: bytes = b""

    def is_for(self, contender: Contender, *, is_ours: bool) -> bool:
        """It can be asked of `contender`."""
        if contender.name == BASELINE:
            return bool(self.bare)
        return is_ours or self.needs in contender.gateway.does

    def raws(self, contender: Contender, questions: Iterator[str]) -> Iterator[bytes]:
        """What `contender` is sent, without end."""
        is_bare = contender.name == BASELINE
        path, headers = (self.bare, {}) if is_bare else ("", self.headers)
        made = (
            contender.raw(question, path=path, headers=headers, more=self.body)
            for question in questions
        )
        return made if self.is_fresh or self is SEMANTIC_HIT else itertools.repeat(next(made))


BYPASS: Final = {"x-sidecar-bypass": "1"}
STREAM: Final = {"stream": True}
EXACT: Final = b"x-sidecar-cache: hit-exact"
SEMANTIC: Final = b"x-sidecar-cache: hit-semantic"

MEANT: Final = {"x-sidecar-namespace": "meant"}

EXACT_HIT: Final = Route(name="exact hit", bare="/handler", needs="exact hits", expects=EXACT)
SEMANTIC_HIT: Final = Route(
    name="semantic hit", headers=MEANT, needs="semantic hits", expects=SEMANTIC
)
STREAMED_HIT: Final = Route(
    name="exact hit, stream", body=STREAM, bare="/handler", needs="streams", expects=EXACT
)
PATHS: Final[Sequence[Route]] = (
    EXACT_HIT,
    STREAMED_HIT,
    Route(name="pass-through", headers=BYPASS, is_fresh=True, bare="/proxy", needs="calls"),
    Route(
        name="pass-through, stream",
        body=STREAM,
        headers=BYPASS,
        is_fresh=True,
        bare="/relay",
        needs="calls",
    ),
    Route(
        name="miss with routing",
        body={"model": "auto"},
        is_fresh=True,
        bare="/proxy",
        needs="routing",
    ),
    SEMANTIC_HIT,
)


def questions(route: Route, seed: int, hits: Sequence[str]) -> Iterator[str]:
    """Without end; `hits` are those that are served by meaning."""
    if route.is_fresh:
        return fresh_questions(seed)
    if route is SEMANTIC_HIT:
        start = seed % len(hits)
        return itertools.islice(itertools.cycle(hits), start, None)
    return itertools.repeat(HIT)
