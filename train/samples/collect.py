"""`python -m train collect`: prompts in, every tier's answer to each in the tier3 shape out.

A prompt is a line of JSON: a string, or {"query" or "messages", "id"?, "domain"?, "gold"?}. Where
the right answer (`gold`) is given, `correct` is whether an answer comes to it; else it is null, for
`train label` to fill. The rows are what `train fit --data` takes, once labelled.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import orjson

from sidecar.assembly.tierwise import Spoken, Tierwise, tierwise
from sidecar.chat import question_of
from train.errors import DataError
from train.samples.asking import CONCURRENCY, Made, Tally, ask_all, done_ids
from train.samples.traffic import says_same

HELP: Final = "ask every tier for each prompt of a file; resumable, within a budget"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """One question for every tier.

    Attributes:
        key: Its id; a hash of it, where the file gives none.
        query: The text that is embedded.
        messages: The conversation that is sent.
        domain: Where it comes from; empty if not said.
        gold: The right answer; None if not known.
    """

    key: str
    query: str
    messages: list[Mapping[str, Any]]
    domain: str
    gold: str | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own arguments."""
    parser.add_argument("--prompts", type=Path, required=True, metavar="FILE", help="JSON Lines")
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="whose tiers")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="rows are appended")
    parser.add_argument("--budget-usd", type=Decimal, help="no row begins once so much is spent")
    parser.add_argument("--concurrency", type=int, default=CONCURRENCY, help=f"({CONCURRENCY})")


def run(args: argparse.Namespace) -> int:
    """Ask, and say how far it came; 1 if some are still to be asked."""
    prompts, done = list(read_prompts(args.prompts)), done_ids(args.out)
    left = [prompt for prompt in prompts if prompt.key not in done]
    tally = asyncio.run(_collected(args, left))
    still = len(left) - tally.made
    told = {
        "rows": tally.made,
        "kept": len(prompts) - len(left),
        "left": still,
        "failed": tally.failed,
        "cost_usd": str(tally.cost_usd),
        "budget_spent": tally.is_spent,
        "out": str(args.out),
    }
    print(json.dumps(told) if args.json else "\n".join(f"{k}: {v}" for k, v in told.items()))
    return int(still > 0)


async def _collected(args: argparse.Namespace, prompts: list[Prompt]) -> Tally:
    async with tierwise(args.config) as tiers:

        async def ask(prompt: Prompt) -> Made:
            return await _made(tiers, prompt)

        return await ask_all(
            prompts,
            ask,
            args.out,
            budget_usd=args.budget_usd,
            concurrency=args.concurrency,
            what="collect",
        )


async def _made(tiers: Tierwise, prompt: Prompt) -> Made:
    names = tiers.ladder.names
    said = await asyncio.gather(*(tiers.ask(name, prompt.messages) for name in names))
    cost_usd = sum((each.cost_usd for each in said), Decimal(0))
    for name, each in zip(names, said, strict=True):
        if each.text is None:
            return Made(None, cost_usd, f"{name}: {each.fault}")
    answers = {name: _answer(each, prompt) for name, each in zip(names, said, strict=True)}
    row: dict[str, Any] = {"id": prompt.key, "domain": prompt.domain, "query": prompt.query}
    row |= {"gold": prompt.gold} if prompt.gold is not None else {}
    return Made({**row, "answers": answers}, cost_usd)


def _answer(said: Spoken, prompt: Prompt) -> dict[str, Any]:
    text = said.text or ""
    return {
        "model": said.model,
        "text": text,
        "correct": None if prompt.gold is None else int(says_same(text, prompt.gold)),
        "tok_in": said.tokens_in,
        "tok_out": said.tokens_out,
        "cost_usd": float(said.cost_usd),
        "finish_reason": said.finish_reason,
    }


def read_prompts(path: Path) -> Iterator[Prompt]:
    """The prompts of a file, each once.

    Raises:
        DataError: It cannot be read, or a line is no prompt; the line is named.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as fault:
        raise DataError(f"{path} cannot be read: {fault.strerror or fault}") from fault
    seen = set()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            prompt = _prompt(orjson.loads(line))
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError) as fault:
            raise DataError(f"{path}, line {number}: no prompt: {fault!r}") from fault
        if prompt.key not in seen:
            seen.add(prompt.key)
            yield prompt


def _prompt(told: Any) -> Prompt:
    row: dict[str, Any] = {"query": told} if isinstance(told, str) else told
    messages = row.get("messages") or [{"role": "user", "content": row["query"]}]
    query = row.get("query") or question_of(messages)
    if not isinstance(query, str) or not query.strip():
        raise ValueError("it asks nothing in words")
    digest = hashlib.sha256(orjson.dumps(messages)).hexdigest()[:16]
    gold = row.get("gold")
    return Prompt(
        key=str(row.get("id") or digest),
        query=query,
        messages=list(messages),
        domain=str(row.get("domain") or ""),
        gold=None if gold is None else str(gold),
    )
