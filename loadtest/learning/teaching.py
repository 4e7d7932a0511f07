"""A poor router's way from its first request to its second retrain, and a saboteur's: step by step.

Each step is done once, on a sidecar that is never restarted, and what it showed is noted.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import cycle
from pathlib import Path
from random import Random
from typing import Any, Final

from loadtest.callers.client import session
from loadtest.learning.classroom import BATCH, REFUSED, Classroom, Run, Sent, train
from loadtest.learning.dials import PATIENT, Curve, Worth, measure, worth_of
from loadtest.learning.lessons import Lessons, Line, inverted_labels, shuffled_labels, write_rows
from loadtest.servers.processes import own_sidecar, replay_upstream

POOR_ROWS: Final = 400
"""Chosen: enough for `train fit` to take them, far too few to be fitted well."""

SETTLE_S: Final = 4.0
"""Chosen: what was asked in shadow last is in the log by then."""

_ROUTER: Final = """
{patient}[router]
artifact = "{poor}"
registry = "{registry}"
exploration = {exploration}
shadow_share = {shadow}
shadow_tiers = "all"
shadow_budget_usd_per_hour = 1000.0

[router.canary]
steps = [0.2, 0.5, 1.0]
requests = {requests}
max_cost_increase = {dearer}
# A router that knows nothing asks the dearest tier at once, and so never escalates.
max_escalation_increase = 1.0

"""


@dataclass(slots=True)
class Story:
    """What was seen, step by step.

    Attributes:
        steps: (what was done, requests, right, USD per 1,000, what showed it).
        figures: The same for scripts.
        faults: What ought to have been seen and was not.
    """

    steps: list[tuple[str, str, str, str, str]] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def tell(self, what: str, run: Run | None, shown: str) -> None:
        """One step, on the terminal at once."""
        cells = (
            (str(len(run.sent)), f"{run.right:.3f}", f"{run.usd_per_1k:.3f}") if run else ("",) * 3
        )
        self.steps.append((what, *cells, shown))
        print(f"{time.strftime('%H:%M:%S')} {what}: {' '.join(cells)} {shown}", flush=True)

    def must(self, is_so: bool, what: str) -> None:  # noqa: FBT001 - read as a sentence
        """Note what ought to be so and is not."""
        if not is_so:
            self.faults.append(what)


class Loop:
    """Does each step once, and notes what it showed."""

    def __init__(self, args: argparse.Namespace, folder: Path, lessons: Lessons) -> None:
        self.args = args
        self.folder = folder
        self.lessons = lessons
        self.story = Story()
        self.worths: list[Worth] = []
        self.commands: list[str] = []
        self._taught = list(lessons.first[: args.rows])
        # What a trial is held on: traffic of the same domains that was not learnt from.
        self._more: Iterator[Line] = cycle(lessons.first[args.rows : -POOR_ROWS])
        self._later = list(lessons.later[: args.later_rows])
        self._more_later: Iterator[Line] = cycle(lessons.later[args.later_rows :])

    def path(self, name: str) -> Path:
        """Of an artifact, by the name that it has here."""
        return self.folder / name

    def begin(self) -> None:
        """Every file that the steps need."""
        for name in ("traffic", "registry"):
            (self.folder / name).mkdir()
        rows = shuffled_labels(self.lessons.first[-POOR_ROWS:], self.args.seed)
        write_rows(self.folder / "poor.jsonl", rows)
        write_rows(self.folder / "recording.jsonl", self.lessons.every)
        of_first = [row for row in self.lessons.gate if row.get("domain") not in self.args.later]
        write_rows(self.folder / "gate-first.jsonl", of_first)
        write_rows(self.folder / "gate.jsonl", self.lessons.gate)

    @contextlib.asynccontextmanager
    async def classroom(self) -> AsyncIterator[Classroom]:
        """The sidecar on the poor artifact, up."""
        args, poor = self.args, self.path("poor")
        await self._fit(self.folder / "poor.jsonl", poor)
        more = _ROUTER.format(
            patient=PATIENT,
            poor=poor,
            registry=self.folder / "registry",
            exploration=args.exploration,
            shadow=args.shadow,
            requests=args.requests,
            dearer=args.dearer,
        )
        upstream = replay_upstream(self.folder / "recording.jsonl")
        async with own_sidecar(self.folder, upstream, more=more) as server, session() as http:
            yield Classroom(
                folder=self.folder,
                server=server,
                http=http,
                rng=Random(args.seed),
                feedback=args.feedback,
                at_once=args.at_once,
            )

    # The steps.

    async def learn(self, room: Classroom) -> None:
        """Traffic on the poor artifact; a retrain from the log; its way to serving."""
        run = await room.send(self._taught)
        self.story.tell("traffic on a router that knows nothing", run, _told(run))
        await asyncio.sleep(SETTLE_S)
        await self._release(room, "first", "gate-first.jsonl", self._more)

    async def shift(self, room: Classroom) -> None:
        """Other domains; the alarm and the lean; a second retrain, and the alarm is over."""
        run, is_alarmed = await self._until_alarm(room)
        drift = await room.drift()
        told = f"input {drift['input']['value']:.2f}, leaned {100 * run.share('leaned'):.0f} %"
        self.story.tell(f"the domains change to {', '.join(self.args.later)}", run, told)
        self.story.must(is_alarmed, "the alarm of the input")
        wary = await room.send(self._later[len(run.sent) :])
        told = f"leaned {100 * wary.share('leaned'):.0f} %; alarms {_alarmed(await room.drift())}"
        self.story.tell("more of them while the alarm is raised", wary, told)
        self.story.must(wary.share("leaned") > 0, "any request that leaned to the safer tier")
        self.story.figures["leaned"] = wary.share("leaned")
        await asyncio.sleep(SETTLE_S)
        await self._release(room, "second", "gate.jsonl", self._more_later)
        after = await room.send([next(self._more_later) for _ in range(6 * BATCH)])
        drift = await room.drift()
        told = f"input {drift['input']['value']:.2f}, leaned {100 * after.share('leaned'):.0f} %"
        self.story.tell("the same domains after it", after, f"{told}; alarms {_alarmed(drift)}")
        self.story.must(not drift["input"]["alarmed"], "the end of the input's alarm")
        self.story.figures |= {"leaned_after": after.share("leaned"), "drift_after": drift}

    async def _until_alarm(self, room: Classroom) -> tuple[Run, bool]:
        sent: list[Sent] = []
        while len(sent) < len(self._later):
            sent += (await room.send(self._later[len(sent) : len(sent) + BATCH])).sent
            if (await room.drift())["input"]["alarmed"]:
                return Run(sent), True
        return Run(sent), False

    async def sabotage(self, room: Classroom) -> None:
        """An artifact that learnt the opposite, forced past the gate: what does it cost?"""
        rows = inverted_labels(self.lessons.first[-2 * POOR_ROWS :])
        data, bad = write_rows(self.folder / "bad.jsonl", rows), self.path("bad")
        await self._fit(data, bad)
        _, told = await self._train(
            *("promote", "--artifact", str(bad), "--registry", str(room.registry)),
            *("--data", str(self.folder / "gate.jsonl"), "--force", "a drill"),
        )
        self.story.must(not told["passed"], "the gate's refusal of the sabotaged artifact")
        version, serving = told["candidate"], told["serving"]
        run, is_over = await room.send_until(self._more, _has_ended)
        state = await room.router()
        is_back = is_over and state["serving"] == serving
        hurt, well = run.by(version), run.by(serving)
        lost = len(hurt.sent) * (well.right - hurt.right)
        seen = f"{len(hurt.sent)} decided by it, {hurt.right:.3f} right; {lost:.1f} answers lost"
        self.story.tell("a sabotaged artifact, the gate forced", run, f"{seen}; {_last(state)}")
        self.story.must(is_back, "the sabotaged artifact taken back")
        self.story.figures["sabotage"] = {
            "requests": len(run.sent),
            "decided_by_it": len(hurt.sent),
            "right_under_it": hurt.right,
            "right_beside_it": well.right,
            "answers_lost": lost,
            "is_back": is_back,
        }
        after = await room.send([next(self._more) for _ in range(2 * BATCH)])
        self.story.tell("after it", after, _told(after))
        self.story.must(set(after.versions) == {serving}, "every answer by what served before")

    async def _release(self, room: Classroom, name: str, gate: str, rows: Iterator[Line]) -> None:
        """From the log to serving: fit, gate, shadow, canary, promoted."""
        parent = room.registry / "versions" / (await room.router())["serving"]
        log, out = ("--traffic", str(room.traffic)), self.path(name)
        _, fitted = await self._train("fit", *log, "--parent", str(parent), "--out", str(out))
        rc, told = await self._train(
            *("promote", "--artifact", str(out), "--registry", str(room.registry)),
            *("--data", str(self.folder / gate)),
        )
        checks = {each["name"]: each["lead"] for each in told["checks"] if each["lead"] is not None}
        shown = ", ".join(f"{key} {lead:+.4f}" for key, lead in checks.items())
        self.story.tell(f"retrained from the log: {fitted['version']}", None, f"gate: {shown}")
        self.story.figures[name] = {"fit": fitted, "gate": told}
        if rc == REFUSED:
            self.story.faults.append(f"the gate's word for the {name} retrain")
            return
        run, _ = await room.send_until(rows, _has_ended)
        state = await room.router()
        self.story.tell("shadow, canary, and on", run, f"{_told(run)}; {_last(state)}")
        self.story.must(state["serving"] == fitted["version"], f"the {name} retrain promoted")

    async def _fit(self, data: Path, out: Path) -> None:
        """From rows with every label."""
        await self._train("fit", "--data", str(data), "--out", str(out))

    async def _train(self, *words: str) -> tuple[int, dict[str, Any]]:
        self.commands.append(f"python -m train {' '.join(words)}")
        return await train(*words, "--work", str(self.folder / "work"))

    async def measure(self) -> None:
        """What each artifact is worth on rows that took part in nothing."""
        for name, rows in (("all-first", self._taught), ("all", [*self._taught, *self._later])):
            data = write_rows(self.folder / f"{name}.jsonl", rows)
            await self._fit(data, self.path(name))
        first = self.lessons.measure_first[: self.args.measure]
        later = self.lessons.measure_later[: self.args.measure]
        on_first = {n: await self._curve(n, first) for n in ("poor", "first", "all-first")}
        on_later = {n: await self._curve(n, later) for n in ("first", "second", "all")}
        self._held("first retrain over the poor one", on_first, "first", "poor", first)
        self._held("the same rows with every label, over it", on_first, "all-first", "first", first)
        self._held(
            "later domains: second retrain over the first", on_later, "second", "first", later
        )
        self._held("later domains: every label, over it", on_later, "all", "second", later)
        self.story.must(
            self.worths[0].over_all.low > 0, "quality at equal cost rising beyond doubt"
        )
        self.story.must(self.worths[2].over_all.value > 0, "the later domains' quality recovering")
        self.story.figures["worth"] = [asdict(each) for each in self.worths]

    async def _curve(self, name: str, rows: Sequence[Line]) -> Curve:
        folder = self.folder / f"measure-{name}-{len(rows)}"
        folder.mkdir()
        recording = self.folder / "recording.jsonl"
        return await measure(folder, self.path(name), recording, rows, self.args.at_once)

    def _held(
        self, what: str, curves: Mapping[str, Curve], after: str, before: str, rows: Sequence[Line]
    ) -> None:
        worth = worth_of(what, curves[after], curves[before], rows, self.args.seed)
        self.worths.append(worth)
        print(f"{what}: {worth.lead} at ${worth.usd_per_1k:.2f}, over all {worth.over_all}")


def _has_ended(state: Mapping[str, Any]) -> bool:
    return not state["candidate"]


def _told(run: Run) -> str:
    return ", ".join(f"{count} by {version}" for version, count in run.versions.most_common())


def _alarmed(drift: Mapping[str, Any]) -> str:
    return ", ".join(kind for kind, told in drift.items() if told["alarmed"]) or "none"


def _last(state: Mapping[str, Any]) -> str:
    told = state["history"][-1]
    return f"{told['action']}: {told['reason']}"
