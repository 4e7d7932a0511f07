"""A wreck in; what its successor serves of it, and what it must not, out: see `wreck`."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Final

from loadtest.callers.answers import Reply
from loadtest.callers.client import ask, in_turns
from loadtest.resilience.place import CACHED, Place
from loadtest.resilience.wreck import Past, Wreck
from loadtest.vendors.provider import answer_to

CHECKED: Final = 300
"""Chosen: questions of each kind that are asked again after a start; some seconds' work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What the successor served; all but the first two should be 0.

    Attributes:
        asked_again: Questions that were answered well before the kill.
        hits: Of those, served from what was kept.
        foreign: Whole answers that name another question.
        torn: Answers that are none, or errors.
        asked_for_gone: Questions that an acknowledged change had taken.
        resurrected: Of those, served.
        asked_for_old: Questions older than the time to live.
        outlived: Of those, served; and of all hits, those with a greater age.
    """

    asked_again: int
    hits: int
    foreign: int
    torn: int
    asked_for_gone: int
    resurrected: int
    asked_for_old: int
    outlived: int


async def examine(
    place: Place,
    wreck: Wreck,
    old: list[Past],
    rng: Random,
    *,
    settle_s: float,
    ttl_s: float,
    at_once: int,
) -> Found:
    """Ask the successor for what it must and must not have; `old` outlived their time."""
    settled_at = wreck.killed_at - settle_s

    async def check(past: Past) -> tuple[Past, Reply]:
        return past, await ask(place.http, place.base_url, past.text, headers=past.headers)

    async def look(past: Past) -> Reply:
        headers = {**past.headers, **CACHED}
        return await ask(place.http, place.base_url, past.text, headers=headers)

    gone = [
        past
        for past in wreck.pasts
        if past.gone == "invalidated" or (past.gone and past.gone_at < settled_at)
    ]
    kept = [
        past
        for past in wreck.pasts
        if not past.is_doomed and past.answered_at and past.answered_at < settled_at
    ]
    gone, kept, old = _some(gone, rng), _some(kept, rng), _some(old, rng)
    found_gone = await in_turns(gone, look, at_once=at_once)
    found_old = await in_turns(old, look, at_once=at_once)
    checked = await in_turns(kept, check, at_once=at_once)
    too_old = sum(
        reply.is_hit and float(reply.headers.get("age", 0)) > ttl_s for _, reply in checked
    )
    return Found(
        asked_again=len(kept),
        hits=sum(reply.is_hit for _, reply in checked),
        foreign=sum(r.is_whole and r.text != answer_to(past.text) for past, r in checked),
        torn=sum(not reply.is_whole for _, reply in checked),
        asked_for_gone=len(gone),
        resurrected=sum(reply.is_hit for reply in found_gone),
        asked_for_old=len(old),
        outlived=too_old + sum(reply.is_hit for reply in found_old),
    )


def _some(pasts: list[Past], rng: Random) -> list[Past]:
    return rng.sample(pasts, min(CHECKED, len(pasts)))
