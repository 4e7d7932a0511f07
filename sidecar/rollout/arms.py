"""A request in, decided by the artifact that serves or by the candidate; judged by the same one.

The pipeline keeps one `Arms`; what stands behind it is swapped whole, between two requests. A
request that began under one artifact is judged by it to its end, also if it was taken back
meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from hashlib import blake2b
from typing import Final, NamedTuple

from router.budget import Range
from router.decision import AnswerView, Decision, Judgement, Task
from router.drift import Known
from router.errors import RouterError
from router.policy import Router, RouterConfig
from router.tiers import Ladder

_WHOLE: Final = 2.0**64

KEPT: Final = 4
"""Chosen: routers of late that requests in flight may still be judged by; a trial swaps few."""


class Trial(NamedTuple):
    """A candidate, and the share of the traffic that it decides; 0 is shadow."""

    router: Router
    share: float


class Arms:
    """The router that the pipeline asks. Lives on the event loop's thread.

    Attributes:
        version: Of the artifact that serves.
    """

    def __init__(self, *, ladder: Ladder, config: RouterConfig, base: Router) -> None:
        """`base` decides until `use` is called."""
        self.ladder = ladder
        self.config = config
        self.base = base
        self._serving = base
        self.version = base.version
        self._trial: Trial | None = None
        self._known = {base.version: base}

    def use(self, serving: Router, trial: Trial | None) -> None:
        """Decide by these from now on."""
        self._serving, self._trial, self.version = serving, trial, serving.version
        latest = [serving, *([trial.router] if trial is not None else [])]
        older = [router for router in self._known.values() if router not in latest]
        self._known = {each.version: each for each in [*older[-KEPT:], *latest]}

    @property
    def known(self) -> Known | None:
        """See Router."""
        return self._serving.known

    @property
    def prices(self) -> Range | None:
        """See Router."""
        return self._serving.prices

    def decide(self, task: Task, dice: float = 1.0) -> Decision:
        """The tier to ask first, by whom `task.unit` falls to; in shadow, what both say.

        Asking both takes twice as long, and so it ends with the shadow.

        Raises:
            RouterError: The one that serves failed.
        """
        trial, serving = self._trial, self._serving
        if trial is None:
            return _signed(serving.decide(task, dice), serving, "serving")
        is_candidates = drawn(trial.router.version, task.unit) < trial.share
        if trial.share and not is_candidates:
            return _signed(serving.decide(task, dice), serving, "serving")
        try:
            tried = trial.router.decide(task, dice if is_candidates else 1.0)
        except RouterError:
            decision = _signed(serving.decide(task, dice), serving, "serving")
            return replace(decision, rival=trial.router.version, rival_entry=None)
        if not is_candidates:
            decision = _signed(serving.decide(task, dice), serving, "serving")
            return replace(decision, rival=trial.router.version, rival_entry=tried.entry)
        return _signed(tried, trial.router, "canary")

    def judge(self, task: Task, decision: Decision, answers: Mapping[int, AnswerView]) -> Judgement:
        """As the one that decided says."""
        return self._known.get(decision.version, self._serving).judge(task, decision, answers)


def _signed(decision: Decision, router: Router, role: str) -> Decision:
    return replace(decision, version=router.version, role=role)


def drawn(version: str, unit: str) -> float:
    """A number in [0, 1) that this unit keeps for as long as that version is on trial.

    Another version draws anew; a share that grows keeps whom it had.
    """
    digest = blake2b(f"{version}\0{unit}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / _WHOLE
