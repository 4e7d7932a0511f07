"""The verb `loop`: a poor router that learns from its own log, live, and what each step shows.

A real sidecar on recorded answers of real models, never restarted. It begins with an artifact that
knows nothing, takes traffic with feedback, is retrained from its log, gated, tried and promoted by
its own guards; then the traffic's domains change, and it is retrained again; in the end a sabotaged
artifact is forced past the gate. What artifacts are worth is measured on rows that took part in
nothing, each by a sidecar of its own, at equal cost.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from loadtest.learning.classroom import train
from loadtest.learning.dials import Worth
from loadtest.learning.lessons import LATER, read_lessons
from loadtest.learning.teaching import Loop, Story
from loadtest.report import Report, Table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own flags."""
    parser.add_argument("--data", type=Path, required=True, help="tier3 rows: the traffic")
    parser.add_argument("--kept", type=Path, required=True, help="tier3 rows kept apart")
    parser.add_argument("--later", nargs="+", default=list(LATER), help="domains that come later")
    parser.add_argument("--rows", type=int, default=3_000, help="to learn from first (3000)")
    parser.add_argument("--later-rows", type=int, default=1_000, help="and after the shift (1000)")
    parser.add_argument("--measure", type=int, default=700, help="rows to measure on (700)")
    parser.add_argument("--feedback", type=float, default=0.8, help="share judged (0.8)")
    parser.add_argument("--exploration", type=float, default=0.05, help="(0.05)")
    parser.add_argument("--shadow", type=float, default=0.5, help="shadow_share (0.5)")
    parser.add_argument("--requests", type=int, default=100, help="of a canary's step (100)")
    parser.add_argument("--dearer", type=float, default=1.0, help="max_cost_increase (1.0)")
    parser.add_argument("--at-once", type=int, default=8, help="requests in flight (8)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="leave everything here")
    parser.add_argument("--html", type=Path, metavar="OUT", help="write the report there")


async def report(args: argparse.Namespace) -> Report:
    """The whole story; good if each step shows what it ought to."""
    started_s = time.monotonic()
    with _folder(args.keep) as folder:
        taught, kept = [await _graded(path, folder) for path in (args.data, args.kept)]
        loop = Loop(args, folder, read_lessons(taught, kept, args.later, args.seed))
        loop.begin()
        async with loop.classroom() as room:
            await loop.learn(room)
            await loop.shift(room)
            await loop.sabotage(room)
            history = (await room.router())["history"]
            metrics = await room.metrics("sidecar_router_re", "sidecar_router_sh")
        await loop.measure()
    story = loop.story
    minutes = (time.monotonic() - started_s) / 60
    story.figures |= {"history": history, "metrics": metrics, "minutes": minutes}
    story.figures |= {"commands": loop.commands, "faults": story.faults}
    notes = [
        f"{minutes:.1f} minutes. Intervals: 95 %, bootstrap over rows, paired.",
        *(f"NOT SEEN: {fault}" for fault in story.faults),
    ]
    return Report(
        title="A poor router learns from its own log",
        tables=[_steps(story), _worth(loop.worths), _history(history)],
        figures=story.figures,
        notes=notes,
        is_good=not story.faults,
    )


async def _graded(path: Path, folder: Path) -> Path:
    """The rows with one teacher's word on all answers: they come to the gold answer, or not.

    That is how a log is labelled by a right answer that came as feedback. The files' own marks
    differ in one answer in seventy, in law of one tier in eighteen, so that a router would be
    taught by one rule and held to another.
    """
    out = folder / f"graded-{path.name.removesuffix('.gz')}"
    await train("label", "--rows", str(path), "--out", str(out), "--by", "gold")
    return out


def _folder(keep: Path | None) -> contextlib.AbstractContextManager[Path]:
    """Where everything stands: `keep`, or a folder that is gone afterwards."""
    if keep is None:
        return _temporary()
    keep.mkdir(parents=True, exist_ok=True)
    return contextlib.nullcontext(keep)


@contextlib.contextmanager
def _temporary() -> Iterator[Path]:
    with TemporaryDirectory(prefix="sidecar-loop-") as made:
        yield Path(made)


def _steps(story: Story) -> Table:
    return Table(
        title="Step by step",
        headings=("step", "requests", "right", "USD per 1k", "seen"),
        rows=story.steps,
    )


def _worth(worths: Sequence[Worth]) -> Table:
    rows = [
        (
            *(each.what, str(each.rows), f"{each.usd_per_1k:.3f}", f"{each.before:.4f}"),
            *(f"{each.after:.4f}", str(each.lead), str(each.over_all)),
        )
        for each in worths
    ]
    headings = ("on rows kept apart", "rows", "USD per 1k", "before", "after")
    return Table(
        title="Quality at equal cost",
        headings=(*headings, "lead [95 %]", "over all costs [95 %]"),
        rows=rows,
    )


def _history(history: Sequence[Mapping[str, Any]]) -> Table:
    rows = [
        (told["action"], told["version"], f"{told['share']:g}", told["who"], told["reason"])
        for told in history
    ]
    headings = ("action", "version", "share", "who", "reason")
    return Table(title="The registry's history", headings=headings, rows=rows)
