"""A sidecar in, asked and changed until it is killed in the midst of it; what became of it out.

Senders ask questions of their own, new and again, under three tenants and a dozen tags. An operator
invalidates by tag, tenant and entry, callers complain of answers. Of each question is known what
must and what must not be served (`successor` asks for it):

| | after the restart |
|---|---|
| answered well before the kill | served from what was kept, whole and its own |
| named by an invalidation that was acknowledged | never again |
| complained of well before the kill | never again |
| older than the time to live | not served |
| touched by a change that the kill cut off | either way: nothing is claimed |
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final, Literal

from loadtest.callers.client import ask
from loadtest.resilience.place import CACHED, Place, key
from loadtest.vendors.provider import answer_to

TENANTS: Final = ("one", "two", "three")
TAGS: Final = tuple(f"tag-{number}" for number in range(12))
"""Chosen: so many that an invalidation by tag leaves most of what is kept."""

AGAIN: Final = 0.5
STREAMED: Final = 0.3
"""Chosen: shares of requests, so that reads and writes, JSON and streams mix."""

_EXACT_ONLY: Final = {"x-sidecar-similarity": "1.0"}
"""Semantic hits are shut out: an answer to another question is then always a fault."""


@dataclass(slots=True, eq=False)
class Past:
    """What became of one question; instants are the event loop's.

    Attributes:
        text: Of it.
        headers: It is always asked with.
        tag: Its own.
        tenant: Its own.
        begun_at: When it was last asked.
        answered_at: When its first whole answer came; None if none did.
        waiting: Requests for it under way.
        request_id: Of its last answer.
        is_doomed: Some change names it, acknowledged or not; it is not asked any more.
        gone: Which acknowledged change took it.
        gone_at: When that was acknowledged.
    """

    text: str
    headers: Mapping[str, str]
    tag: str
    tenant: str
    begun_at: float = 0.0
    answered_at: float | None = None
    waiting: int = 0
    request_id: str = ""
    is_doomed: bool = False
    gone: Literal["", "invalidated", "complained"] = ""
    gone_at: float = 0.0


@dataclass(slots=True, eq=False)
class Wreck:
    """One life under load, ended by a kill.

    Attributes:
        pasts: All that was asked.
        counts: `cut_off`, `foreign`, and of changes `invalidations` and `complaints`.
        killed_at: When.
    """

    pasts: list[Past] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    killed_at: float = 0.0

    @property
    def answered(self) -> int:
        """Questions with a whole answer."""
        return sum(past.answered_at is not None for past in self.pasts)


async def load(
    place: Place, rng: Random, *, load_s: float, at_once: int, kill: Callable[[], None]
) -> Wreck:
    """Ask, change, and after `load_s` kill in the midst of it."""
    wreck, stopped = Wreck(), asyncio.Event()
    nonce = f"{rng.randrange(2**40):010x}"
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as tasks:
        for sender in range(at_once):
            tasks.create_task(_send(place, wreck, stopped, f"{nonce}/{sender}"))
        if place.admin_url:
            tasks.create_task(_change(place, wreck, stopped, Random(nonce)))
        await asyncio.sleep(load_s)
        wreck.killed_at = loop.time()
        kill()
        stopped.set()
    return wreck


async def _send(place: Place, wreck: Wreck, stopped: asyncio.Event, name: str) -> None:
    dice, number = Random(name), 0
    mine: list[Past] = []
    while not stopped.is_set():
        able = [past for past in mine[-50:] if not past.is_doomed]
        if able and dice.random() < AGAIN:
            past = dice.choice(able)
        else:
            number += 1
            past = _new(f"What is number {number} of row {name}?", dice)
            mine.append(past)
            wreck.pasts.append(past)
        await _ask(place, wreck, past, is_stream=dice.random() < STREAMED)


def _new(text: str, dice: Random) -> Past:
    tenant, tag = dice.choice(TENANTS), dice.choice(TAGS)
    headers = {**key(tenant), "x-sidecar-tags": tag, **_EXACT_ONLY}
    return Past(text, headers, tag, tenant)


async def _ask(place: Place, wreck: Wreck, past: Past, *, is_stream: bool) -> None:
    loop = asyncio.get_running_loop()
    past.begun_at = loop.time()
    past.waiting += 1
    reply = await ask(place.http, place.base_url, past.text, headers=past.headers, stream=is_stream)
    past.waiting -= 1
    if not reply.is_whole:
        wreck.counts["cut_off"] += 1
        await asyncio.sleep(0.01)
        return
    past.answered_at = past.answered_at or loop.time()
    past.request_id = reply.headers.get("x-sidecar-request-id", "")
    wreck.counts["foreign"] += reply.text != answer_to(past.text)


async def _change(place: Place, wreck: Wreck, stopped: asyncio.Event, dice: Random) -> None:
    while not stopped.is_set():
        await asyncio.sleep(dice.uniform(0.02, 0.2))
        able = [past for past in wreck.pasts if past.answered_at and not past.is_doomed]
        if not able or stopped.is_set():
            continue
        past = dice.choice(able)
        match dice.choices(("complaint", "entry", "tag", "tenant"), (20, 10, 8, 1))[0]:
            case "complaint":
                await _complain(place, wreck, past)
            case "entry":
                await _invalidate_entry(place, wreck, past)
            case "tag":
                await _invalidate(place, wreck, "tag", past.tag)
            case _:
                await _invalidate(place, wreck, "tenant", past.tenant)


async def _complain(place: Place, wreck: Wreck, past: Past) -> None:
    if past.waiting:
        return
    past.is_doomed = True
    said = {"request_id": past.request_id, "label": "bad"}
    url = f"{place.base_url}/feedback"
    if await place.posted(url, said, past.headers) is not None:
        _taken([past], "complained")
        wreck.counts["complaints"] += 1


async def _invalidate_entry(place: Place, wreck: Wreck, past: Past) -> None:
    if past.waiting:
        return
    past.is_doomed = True
    headers = {**past.headers, **CACHED, "x-sidecar-debug": "1"}
    reply = await ask(place.http, place.base_url, past.text, headers=headers)
    entry = reply.headers.get("x-sidecar-entry", "")
    asked = {"by": "entry", "value": entry, "dry_run": False}
    if entry and await _done(place, asked):
        _taken([past], "invalidated")
        wreck.counts["invalidations"] += 1


async def _invalidate(place: Place, wreck: Wreck, by: str, value: str) -> None:
    loop = asyncio.get_running_loop()
    sent_at = loop.time()

    def named() -> Iterable[Past]:
        return (past for past in wreck.pasts if value == getattr(past, by))

    sure = [past for past in named() if past.answered_at and not past.waiting]
    sure = [past for past in sure if not past.is_doomed]
    for past in named():
        past.is_doomed = True
    is_done = await _done(place, {"by": by, "value": value, "dry_run": False})
    for past in named():
        # Begun while it was under way: before it or after it, nobody can tell.
        past.is_doomed = past.is_doomed or past.begun_at >= sent_at
    if is_done:
        _taken(sure, "invalidated")
        wreck.counts["invalidations"] += 1


def _taken(pasts: Iterable[Past], how: Literal["invalidated", "complained"]) -> None:
    now_at = asyncio.get_running_loop().time()
    for past in pasts:
        past.gone, past.gone_at = how, now_at


async def _done(place: Place, asked: Mapping[str, Any]) -> bool:
    """It is said to be done, and on disk."""
    told = await place.posted(f"{place.admin_url}/admin/cache/invalidate", asked)
    return told is not None and bool(told.get("is_persisted"))
