"""Exact hits and the operator plane, with the encoder at rest and with more than it can do.

Hits and probes come at fixed instants, so that a stall shows in all that were due meanwhile; after
them a crowd connects at once, each to ask for one hit. The bare handler, asked meanwhile, tells how
much of a wait is the machine's. The two states alternate; medians over the rounds.
"""

from __future__ import annotations

import asyncio
import itertools
from statistics import median
from typing import Final

from loadtest.callers.flood import Flooded, closed, opened
from loadtest.servers.contenders import Contender, told
from loadtest.speed.hops import fresh_questions
from loadtest.speed.routes import HIT

HITS_A_SECOND: Final = 200.0
PROBES_A_SECOND: Final = 50.0
MISSES_AT_ONCE: Final = 32
"""Chosen: hits and probes that take a core no more than a tenth of its time, beside as many new
questions as keep the encoder's queue from ever being empty."""

CONNECTIONS: Final = 32
"""Chosen: as many as would be waiting if an answer took 150 ms."""

CROWD: Final = 256
"""Chosen: an application's pool of connections, filled in one go, as after its restart."""

_PROBE: Final = b"GET /healthz HTTP/1.1\r\nhost: here\r\n\r\n"
_BEGUN_S: Final = 0.5
"""Chosen: until the queue is full."""
_OVER_S: Final = 1.5
"""Chosen: until those beside it have connected, and have heard."""

Seen = dict[str, dict[str, float]]


async def measured(
    ours: Contender, bare: Contender, rounds: int, seconds: float
) -> dict[str, Seen]:
    """Latencies by state and by what was asked."""
    states: dict[str, list[Seen]] = {"idle": [], "busy": []}
    for turn in range(rounds):
        states["idle"].append(await _seen(ours, bare, seconds))
        flooding = asyncio.create_task(_flooded(ours, turn, _BEGUN_S + seconds + _OVER_S))
        await asyncio.sleep(_BEGUN_S)
        states["busy"].append(await _seen(ours, bare, seconds))
        encoded = await flooding
        states["busy"][-1]["questions"] = told(encoded)
    return {state: _medians(runs) for state, runs in states.items()}


async def _flooded(ours: Contender, turn: int, seconds: float) -> Flooded:
    raws = (ours.raw(each, more={"model": "auto"}) for each in fresh_questions(turn))
    return await closed(ours.server.url, raws, at_once=MISSES_AT_ONCE, seconds=seconds)


async def _seen(ours: Contender, bare: Contender, seconds: float) -> Seen:
    hits, probes, bares = await asyncio.gather(
        opened(
            ours.server.url,
            itertools.repeat(ours.raw(HIT)),
            per_second=HITS_A_SECOND,
            seconds=seconds,
            at_most=CONNECTIONS,
        ),
        opened(
            ours.server.admin_url,
            itertools.repeat(_PROBE),
            per_second=PROBES_A_SECOND,
            seconds=seconds,
            at_most=CONNECTIONS,
        ),
        opened(
            bare.server.url,
            itertools.repeat(bare.raw(HIT)),
            per_second=PROBES_A_SECOND,
            seconds=seconds,
            at_most=CONNECTIONS,
        ),
    )
    crowd = await closed(
        ours.server.url, itertools.repeat(ours.raw(HIT)), at_once=CROWD, seconds=0.0
    )
    return {
        "exact hit": told(hits),
        "operator plane": told(probes),
        "bare handler": told(bares),
        f"hit, {CROWD} connect at once": told(crowd),
    }


def _medians(runs: list[Seen]) -> Seen:
    return {
        what: {name: median(run[what][name] for run in runs) for name in runs[0][what]}
        for what in runs[0]
    }
