"""A pair of questions that is served by meaning in; whether a complaint of it lasts out."""

from __future__ import annotations

import asyncio
from typing import Final

from loadtest.callers.answers import Reply
from loadtest.callers.client import ask
from loadtest.resilience.place import Place, key

QUIET: Final = "quiet"
"""Whose answers no invalidation takes: what it learns must last."""

_INDEXED_S: Final = 0.3
"""Chosen: the index follows what is kept by some milliseconds; on a busy machine by some more."""

Sum = tuple[str, int, int]
"""A namespace, and the two numbers of a question about their sum."""


async def reject(place: Place, one: Sum) -> bool:
    """Have a sum served by meaning and complain of it; whether it was served and heard."""
    reply = await _paraphrased(place, one)
    said = {"request_id": reply.headers.get("x-sidecar-request-id", ""), "label": "bad"}
    if reply.cache != "hit-semantic":
        return False
    return await place.posted(f"{place.base_url}/feedback", said, key(QUIET)) is not None


async def refusal(place: Place, one: Sum) -> str:
    """Why the sum is not served by meaning now; empty if it is."""
    reply = await _paraphrased(place, one)
    if reply.cache == "hit-semantic":
        return ""
    return reply.headers.get("x-sidecar-miss-reason", reply.cache)


async def _paraphrased(place: Place, one: Sum) -> Reply:
    """The answer to a question whose other wording is kept."""
    namespace, left, right = one
    headers = {**key(QUIET), "x-sidecar-namespace": namespace, "x-sidecar-debug": "1"}
    first, second = f"What is {left} plus {right}?", f"How much is {left} plus {right}?"
    await ask(place.http, place.base_url, first, model="small", headers=headers)
    await asyncio.sleep(_INDEXED_S)
    return await ask(place.http, place.base_url, second, model="small", headers=headers)
