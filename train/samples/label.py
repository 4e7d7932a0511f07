"""`python -m train label`: rows of answers in, the same with `correct` filled in out.

By `gold`: an answer is right if it comes to the row's `gold`. By `agreement`: if it comes to the
same as the reference tier's, which itself is taken to be right. By `judge`: likewise, and where
reading closely cannot tell, a tier of the config is asked whether both say the same. The last two
say how often a tier suffices in place of the reference, not how often it is right; rows tell which
it was.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Protocol

import orjson

from sidecar.assembly.tierwise import tierwise
from sidecar.oversight.sameness import Sameness, compare
from train.errors import AskingError, DataError
from train.samples.asking import CONCURRENCY, Made, Tally, ask_all, done_ids
from train.samples.rows import opened
from train.samples.traffic import says_same

HELP: Final = "fill in which answers are right: by gold, by agreement, or by a judge tier"

Row = Mapping[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own arguments."""
    parser.add_argument("--rows", type=Path, required=True, metavar="FILE", help="JSON Lines")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="rows are appended")
    parser.add_argument("--by", choices=("gold", "agreement", "judge"), required=True)
    parser.add_argument(
        "--reference", default="", metavar="TIER", help="taken to be right (a row's dearest)"
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="whose tier judges")
    parser.add_argument("--judge", default="", metavar="TIER", help="who judges (the top tier)")
    parser.add_argument("--budget-usd", type=Decimal, help="for the judge")
    parser.add_argument("--concurrency", type=int, default=CONCURRENCY, help=f"({CONCURRENCY})")


def run(args: argparse.Namespace) -> int:
    """Label, and say how many; 1 if some are still to be judged."""
    if args.by == "judge" and args.config is None:
        raise AskingError("--by judge needs --config, whose tier is asked")
    done = done_ids(args.out)
    rows = read_rows(args.rows)
    left = [row for row in rows if str(row["id"]) not in done]
    tally = asyncio.run(_judged(args, left) if args.by == "judge" else _plain(args, left))
    still = len(left) - tally.made
    told = {
        "rows": tally.made,
        "kept": len(rows) - len(left),
        "left": still,
        "cost_usd": str(tally.cost_usd),
        "out": str(args.out),
    }
    print(json.dumps(told) if args.json else "\n".join(f"{k}: {v}" for k, v in told.items()))
    return int(still > 0)


async def _plain(args: argparse.Namespace, rows: Sequence[Row]) -> Tally:
    async def ask(row: Row) -> Made:
        labels = _by_gold(row) if args.by == "gold" else await _agreeing(row, args.reference, None)
        return Made(labelled(row, labels, args.by), Decimal(0))

    return await ask_all(rows, ask, args.out, budget_usd=None, concurrency=1, what="label")


async def _judged(args: argparse.Namespace, rows: Sequence[Row]) -> Tally:
    async with tierwise(args.config) as tiers:
        judge = args.judge or tiers.ladder[tiers.ladder.top].name
        if tiers.ladder.find_place(judge) is None:
            raise AskingError(f"{judge} is none of the config's tiers {tiers.ladder.names}")
        asking = tiers.asking(judge)

        async def ask(row: Row) -> Made:
            bench = _Bench(asking)
            labels = await _agreeing(row, args.reference, bench)
            return Made(labelled(row, labels, "judge"), bench.cost_usd)

        return await ask_all(
            rows,
            ask,
            args.out,
            budget_usd=args.budget_usd,
            concurrency=args.concurrency,
            what="judge",
        )


class Judge(Protocol):
    """Who says whether two answers say the same."""

    async def agree(
        self, question: str, first: str, second: str, headers: Mapping[str, str]
    ) -> tuple[bool, Decimal]:
        """Whether they do, and what asking cost."""
        ...


class _Bench:
    """The judge, and what it has cost for one row."""

    def __init__(self, asking: Judge) -> None:
        self._asking = asking
        self.cost_usd = Decimal(0)

    async def agree(self, question: str, first: str, second: str) -> bool:
        agree, cost_usd = await self._asking.agree(question, first, second, {})
        self.cost_usd += cost_usd
        return agree


def _by_gold(row: Row) -> dict[str, int]:
    gold = row.get("gold")
    if gold is None:
        raise DataError(f"row {row['id']} has no gold; label it by agreement or by a judge")
    return {tier: int(says_same(told["text"], str(gold))) for tier, told in row["answers"].items()}


async def _agreeing(row: Row, reference: str, bench: _Bench | None) -> dict[str, int]:
    """1 for each tier whose answer comes to the reference's."""
    answers = row["answers"]
    name = reference or max(answers, key=lambda tier: float(answers[tier]["cost_usd"]))
    if name not in answers:
        raise DataError(f"row {row['id']} has no answer of {name}")
    right = answers[name]["text"]
    labels = {}
    for tier, told in answers.items():
        verdict = Sameness.SAME if tier == name else compare(told["text"], right)
        if says_same(told["text"], right):
            verdict = Sameness.SAME
        is_same = verdict is Sameness.SAME
        if verdict is Sameness.UNSURE and bench is not None:
            is_same = await bench.agree(row["query"], told["text"], right)
        labels[tier] = int(is_same)
    return labels


def labelled(row: Row, labels: Mapping[str, int], by: str) -> dict[str, Any]:
    """The row with its answers labelled, and by what."""
    answers = {tier: {**told, "correct": labels[tier]} for tier, told in row["answers"].items()}
    return {**row, "answers": answers, "labelled_by": by}


def read_rows(path: Path) -> list[Row]:
    """The rows of a JSON Lines file, `.gz` too.

    Raises:
        DataError: It cannot be read, or a line is no row; the line is named.
    """
    rows: list[Row] = []
    try:
        with opened(path) as file:
            for number, line in enumerate(file, 1):
                row = orjson.loads(line)
                if not isinstance(row, dict) or not {"id", "query", "answers"} <= row.keys():
                    raise DataError(f"{path}, line {number}: no row of answers")
                rows.append(row)
    except OSError as fault:
        raise DataError(f"{path} cannot be read: {fault.strerror or fault}") from fault
    except orjson.JSONDecodeError as fault:
        raise DataError(f"{path}: {fault}") from fault
    return rows
