"""Every kind of traffic at once, drawn by dice: what comes, leaves early, fails and is taken back.

Names never end: users, namespaces and tags are drawn anew all the time, so that whatever is kept
for each of them without a bound shows as growth. What has a bound grows until it is reached, which
looks the same: `fill` goes there first. Users with a day's budget come again, for their bound
(100,000) is out of reach.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final, NamedTuple

import aiohttp

from loadtest.callers.answers import UNANSWERED, Reply
from loadtest.callers.client import FAULTS, ask, in_turns, unanswered

TENANTS: Final = ("one", "two", "three")

BUDGETED: Final = TENANTS[0]
"""Whose users have budgets of their own."""
_AGAIN: Final = 1_000
"""Chosen: names that come again; all of them within the warm-up."""

SHARES: Final = {
    "new": 0.22,
    "again": 0.22,
    "reworded": 0.08,
    "streamed": 0.12,
    "streamed again": 0.06,
    "leaves a stream": 0.06,
    "leaves an answer": 0.05,
    "fails": 0.08,
    "mistaken": 0.03,
    "judges": 0.06,
    "invalidates": 0.015,
    "reloads": 0.005,
}
"""Chosen: each kind some hundred times in half an hour; a quarter of all does not end well."""

MISHAPS: Final = ("status=500", "status=503", "status=400", "reset", "truncate", "garbage")
_RECENT: Final = 400
"""Chosen: questions that may be asked again; some of them were evicted by then."""

_LEAVES_AFTER_S: Final = 0.05
"""Chosen: within the vendor's time for an answer that drips."""


_FILLERS: Final = 16
"""Chosen: enough that the sidecar is never idle meanwhile."""

_AT_ONCE: Final = 64
"""Chosen: far more than there are at any rate that the sidecar keeps up with."""


def key_of(tenant: str) -> str:
    """The API key that the sidecar's configuration gives `tenant`."""
    return f"key-of-{tenant}"


@dataclass(slots=True, eq=False)
class Churn:
    """Requests of all kinds at one sidecar; call `one` as often as there shall be requests.

    Attributes:
        http: To ask with.
        base_url: Ends in `/v1`.
        admin_url: Of the operator plane.
        reload: Writes another configuration.
        dice: Of all that is drawn.
        done: Requests by kind.
        outcomes: Statuses and cache words by count.
    """

    http: aiohttp.ClientSession
    base_url: str
    admin_url: str
    reload: Callable[[], Awaitable[None]]
    dice: Random
    done: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    _recent: deque[tuple[str, Mapping[str, str]]] = field(
        default_factory=lambda: deque(maxlen=_RECENT)
    )
    _judgeable: deque[tuple[str, Mapping[str, str]]] = field(
        default_factory=lambda: deque(maxlen=_RECENT)
    )

    async def one(self) -> None:
        """One request of a kind that is drawn."""
        kind = self.dice.choices(tuple(SHARES), tuple(SHARES.values()))[0]
        self.done[kind] += 1
        match kind:
            case "new" | "streamed":
                await self._new(stream=kind == "streamed")
            case "again" | "streamed again" if self._recent:
                text, headers = self.dice.choice(self._recent)
                await self._ask(text, headers, stream=kind == "streamed again")
            case "reworded" if self._recent:
                text, headers = self.dice.choice(self._recent)
                await self._ask(_reworded(text), headers)
            case "leaves a stream" | "leaves an answer":
                await self._leave(stream=kind == "leaves a stream")
            case "fails":
                text, headers = self._question()
                fault = self.dice.choice(MISHAPS)
                await self._ask(f"{text} [fault:{fault}]", headers, stream=self.dice.random() < 0.5)  # noqa: PLR2004 - half of them
            case "mistaken":
                await self._mistaken()
            case "judges" if self._judgeable:
                request_id, headers = self.dice.choice(self._judgeable)
                is_bad = self.dice.random() < 0.1  # noqa: PLR2004 - few complain
                await self._judge(request_id, headers, "bad" if is_bad else "good")
            case "invalidates":
                await self._invalidate()
            case "reloads":
                await self.reload()
            case _:
                await self._new(stream=False)

    async def fill(self, count: int) -> None:
        """So many new questions at once, each of a session and namespace of its own.

        Of half of the namespaces one question comes again in other words, and of a fifth somebody
        complains of the answer: what became of hits is remembered by namespace, and complaints
        with both questions. What has a bound of `count`, or of half or a fifth of it, is full
        after them. What is kept without one goes on growing, and shows.
        """

        async def ask_anew(number: int) -> None:
            text, headers = self._question()
            own = {
                "x-sidecar-session": f"filler-{number}",
                "x-sidecar-namespace": f"filler-{number}",
            }
            headers |= own
            await self._ask(text, headers)
            if number < count / 2:
                reply = await self._ask(_reworded(text), headers)
                if number < count / 5 and "x-sidecar-request-id" in reply.headers:
                    await self._judge(reply.headers["x-sidecar-request-id"], headers, "bad")

        await in_turns(range(count), ask_anew, at_once=_FILLERS)

    def _question(self) -> tuple[str, dict[str, str]]:
        """A question never asked, and who asks it."""
        dice, tenant = self.dice, self.dice.choice(TENANTS)
        headers = {
            "authorization": f"Bearer {key_of(tenant)}",
            "x-sidecar-user": f"user-{dice.randrange(_AGAIN if tenant == BUDGETED else 10**9)}",
            "x-sidecar-session": f"session-{dice.randrange(_AGAIN)}",
            "x-sidecar-tags": f"tag-{dice.randrange(10**9)},tag-{dice.randrange(20)}",
        }
        if dice.random() < 0.1:  # noqa: PLR2004 - a tenth comes from a namespace of its own
            headers["x-sidecar-namespace"] = f"space-{dice.randrange(10**9)}"
        left, right = dice.randrange(10**6), dice.randrange(10**6)
        return f"What is {left} plus {right}?", headers

    async def _new(self, *, stream: bool) -> None:
        text, headers = self._question()
        if (await self._ask(text, headers, stream=stream)).is_whole:
            self._recent.append((text, headers))

    async def _ask(self, text: str, headers: Mapping[str, str], *, stream: bool = False) -> Reply:
        reply = await ask(self.http, self.base_url, text, headers=headers, stream=stream)
        self.outcomes[reply.outcome] += 1
        if "x-sidecar-request-id" in reply.headers:
            self._judgeable.append((reply.headers["x-sidecar-request-id"], headers))
        return reply

    async def _leave(self, *, stream: bool) -> None:
        """Ask for what drips out slowly, and go before it has."""
        text, headers = self._question()
        body: dict[str, Any] = {
            "model": "auto",
            "messages": [{"role": "user", "content": f"{text} [fault:drip]"}],
            "stream": stream,
        }
        url = f"{self.base_url}/chat/completions"
        try:
            async with asyncio.timeout(self.dice.uniform(0, 4 * _LEAVES_AFTER_S)):
                async with self.http.post(url, json=body, headers=headers) as response:
                    await response.content.readany()
                    await asyncio.sleep(_LEAVES_AFTER_S)
                    response.close()
        except FAULTS:
            pass
        self.outcomes["left"] += 1

    async def _mistaken(self) -> None:
        _, headers = self._question()
        wrong = self.dice.choice([b"{", b'{"model": "nobody", "messages": []}', b"[" * 10_000])
        key = {} if self.dice.random() < 0.3 else {"authorization": headers["authorization"]}  # noqa: PLR2004 - some come without
        await self._post(f"{self.base_url}/chat/completions", wrong, key)

    async def _judge(self, request_id: str, headers: Mapping[str, str], label: str) -> None:
        said = f'{{"request_id": "{request_id}", "label": "{label}"}}'.encode()
        await self._post(f"{self.base_url}/feedback", said, headers)

    async def _invalidate(self) -> None:
        number = self.dice.randrange(20 if self.dice.random() < 0.5 else 10**9)  # noqa: PLR2004 - half finds something
        asked = f'{{"by": "tag", "value": "tag-{number}", "dry_run": false}}'.encode()
        await self._post(f"{self.admin_url}/admin/cache/invalidate", asked, {})

    async def _post(self, url: str, body: bytes, headers: Mapping[str, str]) -> None:
        stage = "head"
        try:
            async with self.http.post(url, data=body, headers=headers) as response:
                stage = "body"
                await response.read()
                self.outcomes[str(response.status)] += 1
        except FAULTS as fault:
            self.outcomes[f"{UNANSWERED}: {unanswered(fault, stage)}"] += 1


def _reworded(question: str) -> str:
    return question.replace("What is", "How much is")


class Paced(NamedTuple):
    """How the pace was kept.

    Attributes:
        skipped: Works that were not begun, because 64 were under way.
        late_s: The most that one was begun after its time: so long this process stood still.
    """

    skipped: int
    late_s: float


async def at_a_rate(
    work: Callable[[], Awaitable[None]], *, per_second: float, for_s: float
) -> Paced:
    """Begin `work` so often for so long, however long each takes; all have ended then."""
    loop, skipped, late_s = asyncio.get_running_loop(), 0, 0.0
    began_s, places = loop.time(), asyncio.Semaphore(_AT_ONCE)

    async def placed() -> None:
        try:
            await work()
        finally:
            places.release()

    async with asyncio.TaskGroup() as tasks:
        for number in range(int(for_s * per_second)):
            due_s = began_s + number / per_second
            await asyncio.sleep(due_s - loop.time())
            late_s = max(late_s, loop.time() - due_s)
            if places.locked():
                skipped += 1
                continue
            await places.acquire()
            tasks.create_task(placed())
    return Paced(skipped, late_s)
