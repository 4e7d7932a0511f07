"""One answer from parts that are cached apart, and what it costs beside asking for each alone.

Run `make run` in one shell and this in another. It needs aiohttp and nothing of this project.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable
from statistics import median, quantiles
from typing import Any

import aiohttp

PARTS = 8


def chat(number: int) -> dict[str, Any]:
    """One part's request."""
    question = f"What is {number} plus 7?"
    return {"model": "small", "messages": [{"role": "user", "content": question}]}


BODY = {
    "template": "\n".join(f"{number} plus 7: {{{{part{number}}}}}" for number in range(PARTS)),
    "fragments": {f"part{number}": {"request": chat(number)} for number in range(PARTS)},
}


async def timed(work: Callable[[], Awaitable[object]]) -> float:
    """Milliseconds that `work` takes."""
    begun_s = time.perf_counter()
    await work()
    return (time.perf_counter() - begun_s) * 1e3


async def main() -> None:
    """Show one answer, then time it and its parts in turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base-url", default="http://127.0.0.1:8080/v1")
    parser.add_argument("--rounds", type=int, default=300)
    args = parser.parse_args()
    async with aiohttp.ClientSession() as session:

        async def post(path: str, body: dict[str, Any]) -> Any:
            async with session.post(f"{args.base_url}/{path}", json=body) as response:
                response.raise_for_status()
                return await response.json()

        async def together() -> None:
            await post("fragments", BODY)

        async def in_turns() -> None:
            for number in range(PARTS):
                await post("chat/completions", chat(number))

        async def side_by_side() -> None:
            await asyncio.gather(*(post("chat/completions", chat(n)) for n in range(PARTS)))

        told = await post("fragments", BODY)
        print(f"{told['content']}\n\n{told['sidecar']}\n")
        times: dict[str, list[float]] = {}
        for _ in range(args.rounds):
            for work in (together, in_turns, side_by_side):
                times.setdefault(work.__name__, []).append(await timed(work))
    for name, spent_ms in times.items():
        low, *_, high = quantiles(spent_ms, n=4)
        print(f"{name:>12}: p50 {median(spent_ms):.2f} ms, quartiles {low:.2f} to {high:.2f}")


if __name__ == "__main__":
    asyncio.run(main())
