"""A sidecar under load, changed while it is asked, and then killed; what its successor serves.

Senders ask questions of their own, new and again, under three tenants and a dozen tags. An operator
invalidates by tag, tenant and entry, callers complain of answers, and one pair of questions that is
served by meaning is rejected. Of each question is known what must and what must not be served:

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

import aiohttp

from loadtest.callers.answers import Reply
from loadtest.callers.client import ask, in_turns
from loadtest.vendors.provider import answer_to

TENANTS: Final = ("one", "two", "three")
QUIET: Final = "quiet"
"""Whose answers no invalidation takes: what it learns must last."""
TAGS: Final = tuple(f"tag-{number}" for number in range(12))
"""Chosen: so many that an invalidation by tag leaves most of what is kept."""
CHECKED: Final = 300
"""Chosen: questions of each kind that are asked again after a start; some seconds' work."""

AGAIN: Final = 0.5
STREAMED: Final = 0.3
"""Chosen: shares of requests, so that reads and writes, JSON and streams mix."""

_EXACT_ONLY: Final = {"x-sidecar-similarity": "1.0"}
"""Semantic hits are shut out: an answer to another question is then always a fault."""

_CACHED: Final = {"cache-control": "only-if-cached"}
_INDEXED_S: Final = 0.3
"""Chosen: the index follows what is kept by some milliseconds; on a busy machine by some more."""


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


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Place:
    """Where the sidecar answers.

    Attributes:
        http: To ask it with.
        base_url: Ends in `/v1`.
        admin_url: Of its operator plane; empty if only the load is to be tried.
    """

    http: aiohttp.ClientSession
    base_url: str
    admin_url: str = ""


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
    headers = {**_key(tenant), "x-sidecar-tags": tag, **_EXACT_ONLY}
    return Past(text, headers, tag, tenant)


def key_of(tenant: str) -> str:
    """The API key that the sidecar's configuration gives `tenant`."""
    return f"key-of-{tenant}"


def _key(tenant: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key_of(tenant)}"}


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
    if await _posted(place, url, said, past.headers) is not None:
        _taken([past], "complained")
        wreck.counts["complaints"] += 1


async def _invalidate_entry(place: Place, wreck: Wreck, past: Past) -> None:
    if past.waiting:
        return
    past.is_doomed = True
    headers = {**past.headers, **_CACHED, "x-sidecar-debug": "1"}
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
    told = await _posted(place, f"{place.admin_url}/admin/cache/invalidate", asked)
    return told is not None and bool(told.get("is_persisted"))


async def _posted(
    place: Place, url: str, body: Mapping[str, Any], headers: Mapping[str, str] | None = None
) -> dict[str, Any] | None:
    try:
        async with place.http.post(url, json=body, headers=headers) as response:
            told: dict[str, Any] = await response.json()
            return told if response.status == 200 else None  # noqa: PLR2004 - HTTP's own number
    except (aiohttp.ClientError, TimeoutError, ConnectionError, ValueError):
        return None


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
        headers = {**past.headers, **_CACHED}
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


Sum = tuple[str, int, int]
"""A namespace, and the two numbers of a question about their sum."""


async def reject(place: Place, one: Sum) -> bool:
    """Have a sum served by meaning and complain of it; whether it was served and heard."""
    reply = await _paraphrased(place, one)
    said = {"request_id": reply.headers.get("x-sidecar-request-id", ""), "label": "bad"}
    if reply.cache != "hit-semantic":
        return False
    return await _posted(place, f"{place.base_url}/feedback", said, _key(QUIET)) is not None


async def refusal(place: Place, one: Sum) -> str:
    """Why the sum is not served by meaning now; empty if it is."""
    reply = await _paraphrased(place, one)
    if reply.cache == "hit-semantic":
        return ""
    return reply.headers.get("x-sidecar-miss-reason", reply.cache)


async def _paraphrased(place: Place, one: Sum) -> Reply:
    """The answer to a question whose other wording is kept."""
    namespace, left, right = one
    headers = {**_key(QUIET), "x-sidecar-namespace": namespace, "x-sidecar-debug": "1"}
    first, second = f"What is {left} plus {right}?", f"How much is {left} plus {right}?"
    await ask(place.http, place.base_url, first, model="small", headers=headers)
    await asyncio.sleep(_INDEXED_S)
    return await ask(place.http, place.base_url, second, model="small", headers=headers)
