"""Rows to be made, one question each, in; the rows in a file, as many at once as is allowed, out.

1. A finished row is one line, written and flushed at once: what was paid for is not lost, and the
   same command goes on behind the last whole line. A torn tail is cut off.
2. No row begins once the budget is spent; what was begun is finished, so that it may be overdrawn
   by as many rows as are asked at once.
3. A row of which something failed is not written: it is asked again the next time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import IO, Any, Final, TypeVar

import orjson
from tqdm import tqdm

from train.errors import AskingError, DataError

T = TypeVar("T")

CONCURRENCY: Final = 8
"""Chosen: no burden to a vendor, and some thousand questions an hour of a slow tier."""

MAX_FAILED: Final = 20
"""Chosen: so many in a row are not one question's fault."""


@dataclass(frozen=True, slots=True)
class Made:
    """What came of one question: its row, None if a tier failed, and what it cost."""

    row: dict[str, Any] | None
    cost_usd: Decimal
    fault: str = ""


@dataclass(slots=True)
class Tally:
    """How far a run came."""

    made: int = 0
    kept: int = 0
    failed: int = 0
    cost_usd: Decimal = Decimal(0)
    fault: str = ""
    is_spent: bool = False
    failed_in_a_row: int = 0


def done_ids(path: Path) -> set[str]:
    """The ids of the rows that `path` holds; what follows the last whole line is cut off.

    Raises:
        DataError: A whole line is no row.
    """
    if not path.exists():
        return set()
    raw = path.read_bytes()
    whole = raw[: raw.rfind(b"\n") + 1]
    if len(whole) < len(raw):
        with path.open("r+b") as file:
            file.truncate(len(whole))
    try:
        return {str(orjson.loads(line)["id"]) for line in whole.splitlines() if line.strip()}
    except (orjson.JSONDecodeError, KeyError, TypeError) as fault:
        raise DataError(f"{path} holds a line that is no row: {fault!r}") from fault


async def ask_all(
    items: Sequence[T],
    ask: Callable[[T], Awaitable[Made]],
    out: Path,
    *,
    budget_usd: Decimal | None,
    concurrency: int = CONCURRENCY,
    what: str = "ask",
) -> Tally:
    """Make a row of each item, and append it to `out`.

    Raises:
        AskingError: One after the other failed.
    """
    tally, waiting = Tally(), iter(items)
    with out.open("ab") as file, tqdm(total=len(items), desc=what, unit="", delay=1) as bar:

        async def work() -> None:
            for item in waiting:
                if budget_usd is not None and tally.cost_usd >= budget_usd:
                    tally.is_spent = True
                    return
                if tally.failed_in_a_row >= MAX_FAILED:
                    return
                _take(tally, await ask(item), file)
                bar.update()
                bar.set_postfix_str(f"${tally.cost_usd:.4f}", refresh=False)

        await asyncio.gather(*(work() for _ in range(max(1, concurrency))))
    if tally.failed_in_a_row >= MAX_FAILED:
        raise AskingError(f"{MAX_FAILED} questions in a row failed, the last with {tally.fault}")
    return tally


def _take(tally: Tally, made: Made, file: IO[bytes]) -> None:
    tally.cost_usd += made.cost_usd
    if made.row is None:
        tally.failed += 1
        tally.failed_in_a_row += 1
        tally.fault = made.fault
        return
    file.write(orjson.dumps(made.row) + b"\n")
    file.flush()
    tally.made += 1
    tally.failed_in_a_row = 0
