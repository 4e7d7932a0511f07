"""Files of tier3 rows in, examples out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import orjson

from train.errors import DataError
from train.samples.examples import Answered, Example
from train.samples.rows import opened


def read_tier3(paths: Sequence[Path]) -> list[Example]:
    """The examples of JSON Lines files (`.gz` too) in the tier3 format.

    Raises:
        DataError: A file cannot be read or a line is no such row; file and line are named.
    """
    return [example for path in paths for example in _tier3_file(path)]


def _tier3_file(path: Path) -> Iterator[Example]:
    number = 0
    try:
        with opened(path) as file:
            for number, line in enumerate(file, 1):  # noqa: B007 - the faults below name it
                row = orjson.loads(line)
                answers = {
                    tier: Answered(
                        text=told["text"],
                        tokens_in=int(told["tok_in"]),
                        tokens_out=int(told["tok_out"]),
                        cost_usd=float(told["cost_usd"]),
                        correct=_gold(told["correct"]),
                    )
                    for tier, told in row["answers"].items()
                }
                yield Example(
                    query=row["query"].strip(), answers=answers, domain=row.get("domain", "")
                )
    except OSError as fault:
        raise DataError(f"{path} cannot be read: {fault.strerror or fault}") from fault
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError) as fault:
        raise DataError(f"{path}, line {number}: no tier3 row: {fault!r}") from fault


def _gold(told: object) -> float:
    if told is None:
        raise ValueError("the answers are not labelled: `train label` does that")
    return float(told)  # type: ignore[arg-type] # what is no number is told as a faulty line
