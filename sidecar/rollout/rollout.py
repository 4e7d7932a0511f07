"""Follows the registry, counts what each arm comes to, and makes the trial's next step.

1. The state file is looked at once a second, on a thread of its own; what a command writes there
   holds within that time, and what `/admin/router` writes at once. A new artifact is loaded,
   checked and fitted to the ladder before anything is swapped; one that does not fit changes
   nothing.
2. A step of the trial is written to the registry first and holds here by being read again: two
   sidecars over one registry make one step of it, whoever sees the evidence first.
3. Counts are this process's own and begin anew with each stage.
4. No registry, or a disk that fails: the artifact in force goes on, and the log says so.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol, TypeVar
from weakref import WeakSet

from cache.shelf import Shelf
from router.artifact import Artifact
from router.errors import ArtifactError, RouterError
from router.policy import Router
from router.registry import Registry, Stamp
from router.release import Note, State
from sidecar.ledger import Ledger
from sidecar.process.works import done_on
from sidecar.rollout.arms import Arms, Trial
from sidecar.rollout.guard import CanaryConfig, Tally, verdict
from sidecar.traffic.record import FeedbackRecord, Source

T = TypeVar("T")

LOOK_S: Final = 1.0
"""Chosen: an operator who rolls back waits no longer; one `stat` a second is nothing."""

MAX_SEEN: Final = 5_000
"""Chosen: requests that a score may still speak of, as in oversight; some 200 bytes each."""

SIDECAR: Final = "sidecar"


class Meter(Protocol):
    """Where counts go."""

    def routed(self, role: str) -> None:
        """A request was decided: `serving`, `canary`, or `shadow` for one asked beside it."""
        ...

    def released(self, action: str) -> None:
        """The registry changed."""
        ...


class Beginning(NamedTuple):
    """What a config begins with: an artifact's version, its folder, and whether it was named."""

    version: str
    folder: Path
    is_named: bool


_TOLD: Final = 1
_SURETY: Final[Mapping[Source, int]] = {"": 2, "review": 3}
"""Whose word stands: another tier's gives way to the caller's, and that to a reviewer's."""


class _Seen(NamedTuple):
    """A request that a score or a label may speak of, and how sure what was said of it is."""

    tenant: str
    version: str
    said: float | None = None
    surety: int = 0


class Rollout:
    """The one owner of what is released here. Lives on the event loop's thread."""

    def __init__(
        self,
        *,
        registry: Registry | None,
        encoder_id: str,
        config: CanaryConfig,
        meter: Meter,
        clock: Callable[[], float],
        logger: logging.Logger,
    ) -> None:
        """`clock` gives seconds since the epoch."""
        self._registry = registry
        self._encoder_id = encoder_id
        self._config = config
        self._meter = meter
        self._clock = clock
        self._logger = logger
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="registry")
        self._arms: WeakSet[Arms] = WeakSet()
        self._artifacts: dict[str, Artifact] = {}
        self._stamp: Stamp | None = None
        self._looking = asyncio.Lock()
        self._tallies: dict[str, Tally] = {}
        self._seen: Shelf[str, _Seen] = Shelf(MAX_SEEN)
        self._following: asyncio.Task[None] | None = None
        self._stepping: asyncio.Task[None] | None = None
        self._beginning: asyncio.Task[None] | None = None
        self.state = State()

    async def start(self, beginning: Beginning | None) -> None:
        """Take up what the registry holds, and follow it. Never raises."""
        if self._registry is None:
            return
        await self._begin(beginning)
        self._following = asyncio.create_task(self._follow())

    def begin_anew(self, beginning: Beginning | None) -> None:
        """A config that names another artifact than it did takes hold. Returns at once."""
        self._beginning = asyncio.get_running_loop().create_task(self._begin(beginning))

    async def _begin(self, beginning: Beginning | None) -> None:
        if beginning is not None:
            note = self.noted(SIDECAR, "as the config names it")
            await self._try(lambda registry: _adopted(registry, beginning, note))
        await self.look()

    async def close(self) -> None:
        """End the look-out."""
        for task in (self._following, self._stepping, self._beginning):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        self._thread.shutdown()

    def know(self, arms: Arms) -> Arms:
        """`arms`, which from now on follow the registry, and for as long as anybody holds them.

        Where what is released does not fit their ladder, their own base decides.
        """
        try:
            self._fit(arms)
        except RouterError as fault:
            self._logger.error("the registry's artifact does not fit: %s", fault)  # noqa: TRY400 - as below
        self._arms.add(arms)
        return arms

    async def look(self) -> None:
        """Read the registry anew if it has changed."""
        registry = self._registry
        if registry is None:
            return
        async with self._looking:  # who comes second finds done what he came for
            stamp = await done_on(self._thread, registry.stamp)
            if stamp == self._stamp:
                return
            self._stamp = stamp  # also where it cannot be read: once told is enough
            if (found := await self._try(lambda registry: registry.read())) is None:
                return
            if found.fault:
                self._logger.warning("the registry's last good state serves: %s", found.fault)
            await self._take(found.state)

    async def _take(self, state: State) -> None:
        """Load what `state` names and, if all of it fits, decide by it."""
        wanted = {version for version in (state.serving, state.candidate) if version}
        loaded: dict[str, Artifact] = {}
        for version in wanted:
            artifact = self._artifacts.get(version)
            if artifact is None:
                artifact = await self._try(partial(self._loaded, version))
            if artifact is None:
                return
            loaded[version] = artifact
        before, self._artifacts, kept = self.state, loaded, self._artifacts
        self.state = state
        try:
            for arms in self._arms:
                self._fit(arms)
        except RouterError as fault:
            self.state, self._artifacts = before, kept
            for arms in self._arms:
                self._fit(arms)
            self._logger.error("the registry's state does not fit: %s", fault)  # noqa: TRY400 - the fault says it all
            return
        if (before.candidate, before.share, before.serving) != (
            state.candidate,
            state.share,
            state.serving,
        ):
            self._tallies = {}
        self._tell(before, state)

    def _loaded(self, version: str, registry: Registry) -> Artifact:
        artifact = registry.load(version)
        artifact.check_encoder(self._encoder_id)
        return artifact

    def _tell(self, before: State, state: State) -> None:
        """Log and count each line of the history that is new."""
        known = set(before.history)
        if not known:  # a start: the history is another process's
            facts = {"serving": state.serving, "candidate": state.candidate, "share": state.share}
            self._logger.info("registry", extra={"facts": facts})
            return
        for change in state.history:
            if change not in known:
                self._logger.warning("router released", extra={"facts": asdict(change)})
                self._meter.released(change.action)

    def _fit(self, arms: Arms) -> None:
        """Raises ArtifactError."""
        state = self.state
        serving = self._router(arms, state.serving) or arms.base
        candidate = self._router(arms, state.candidate)
        arms.use(serving, Trial(candidate, state.share) if candidate is not None else None)

    def _router(self, arms: Arms, version: str) -> Router | None:
        if not version or version not in self._artifacts:
            return None
        if version == arms.base.version:
            return arms.base
        return Router(ladder=arms.ladder, artifact=self._artifacts[version], config=arms.config)

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                await self.look()
            except Exception:  # the supervisor: the next look comes
                self._logger.exception("unforeseen fault in following the registry")

    # What each arm comes to.

    def closed(self, ledger: Ledger, cost_usd: Decimal) -> None:
        """A request is over."""
        decision = ledger.decision
        if decision is None or not decision.version or not ledger.pays:
            return
        self._meter.routed(decision.role)
        if decision.rival:
            self._meter.routed("shadow")
        if not self.state.candidate or decision.reason == "only_one":
            return
        tally = self._tally(decision.version)
        tally.requests += 1
        tally.errors.add(float(_has_failed(ledger)))
        if ledger.outcome is not None:
            tally.escalations.add(float(ledger.outcome.escalations > 0))
            tally.cost_usd.add(float(cost_usd))
        self._count_rival(ledger)
        seen = _Seen(ledger.inquiry.caller.tenant, decision.version)
        self._seen.put(ledger.inquiry.request_id, seen, seen.tenant)
        self._weigh()

    def _count_rival(self, ledger: Ledger) -> None:
        decision = ledger.decision
        if decision is None or decision.rival != self.state.candidate:
            return
        rival = self._tally(decision.rival)
        if decision.rival_entry is None:
            rival.faults += 1
        elif self.state.stage == "shadow":
            rival.requests += 1
        rival.differs += decision.rival_entry not in {None, decision.entry}

    def feedback(self, record: FeedbackRecord) -> None:
        """Somebody scored an answer; only its own tenant is believed, and the last word counts."""
        if record.score is not None:
            surety = _SURETY[record.source]
            self._heard(record.request_id, record.tenant, record.score, surety)

    def labelled(self, request_id: str, tenant: str, score: float) -> None:
        """Another tier's word: an answer would have stood, or not: 0 to 1."""
        self._heard(request_id, tenant, score, _TOLD)

    def _heard(self, request_id: str, tenant: str, score: float, surety: int) -> None:
        seen = self._seen.get(request_id)
        if seen is None or seen.tenant != tenant or seen.version not in self._tallies:
            return
        if surety < seen.surety:
            return
        quality = self._tallies[seen.version].quality
        if seen.said is None:
            quality.add(score)
        else:
            quality.replace(seen.said, score)
        self._seen.put(request_id, seen._replace(said=score, surety=surety), tenant)
        self._weigh()

    def _tally(self, version: str) -> Tally:
        return self._tallies.setdefault(version, Tally())

    def _weigh(self) -> None:
        """Make the trial's next step, if it is time."""
        state = self.state
        if not state.candidate or (self._stepping is not None and not self._stepping.done()):
            return
        serving, candidate = self._tally(state.serving), self._tally(state.candidate)
        found = verdict(serving, candidate, self._config, is_shadow=state.stage == "shadow")
        if found.act == "wait":
            return
        note, version, share = self.noted(SIDECAR, found.reason), state.candidate, state.share
        following = self._config.after(share)
        is_back = found.act == "roll_back"

        def step(held: State) -> State:
            if is_back:
                return held.dropping(version, note)
            return held.stepping(version, share, following, note)

        stepping = self._stepped(step, is_back=is_back)
        self._stepping = asyncio.get_running_loop().create_task(stepping)

    async def _stepped(self, step: Callable[[State], State], *, is_back: bool) -> None:
        try:
            await self.change(step)
        except RouterError as fault:
            self._logger.error("the trial's step could not be written: %s", fault)  # noqa: TRY400 - as above
            # A candidate that is found bad is not asked again, whatever the disk says; one that
            # is found good begins its stage anew.
            self._tallies = {}
            if is_back:
                await self._take(step(self.state))

    # The operator's word.

    async def change(self, step: Callable[[State], State]) -> State:
        """Change the registry, and decide by it at once.

        Raises:
            ArtifactError: There is none, `step` refuses, or it cannot be written.
        """
        if self._registry is None:
            raise ArtifactError("no registry is named in the config ([router] registry)")
        registry = self._registry
        await done_on(self._thread, lambda: registry.change(step))
        await self.look()
        return self.state

    def noted(self, who: str, reason: str) -> Note:
        """A note of now."""
        return Note(at=self._clock(), who=who, reason=reason)

    async def overview(self) -> dict[str, Any]:
        """Versions, state and both arms' figures."""
        registry, state = self._registry, self.state
        versions = (
            await done_on(self._thread, lambda: _told(registry)) if registry is not None else []
        )
        arms = {
            role: dict[str, Any](version=version, **self._tallies.get(version, Tally()).told())
            for role, version in (("serving", state.serving), ("candidate", state.candidate))
            if version
        }
        return {
            "registry": str(registry.folder) if registry is not None else None,
            "deciding": sorted({each.version for each in self._arms}),
            "serving": state.serving,
            "candidate": state.candidate,
            "stage": state.stage,
            "share": state.share,
            "next_share": self._config.after(state.share) if state.candidate else None,
            "arms": arms,
            "versions": versions,
            "history": [asdict(change) for change in state.history[-20:]],
        }

    async def holds(self, version: str) -> bool:
        """The registry has that version, and it can be served here."""
        registry = self._registry
        if registry is None or await done_on(self._thread, lambda: registry.find(version)) is None:
            return False
        artifact = await done_on(self._thread, lambda: self._loaded(version, registry))
        for arms in self._arms:
            Router(ladder=arms.ladder, artifact=artifact, config=arms.config)
        return True

    async def _try(self, work: Callable[[Registry], T]) -> T | None:
        registry = self._registry
        if registry is None:
            return None
        try:
            return await done_on(self._thread, lambda: work(registry))
        except RouterError as fault:
            self._logger.error("registry: %s", fault)  # noqa: TRY400 - the fault says it all
            return None


def _has_failed(ledger: Ledger) -> bool:
    """Nobody was answered, and that was not for the caller's leaving or his own mistake."""
    return ledger.outcome is None and ledger.status >= 500  # noqa: PLR2004 - HTTP's own


def _adopted(registry: Registry, beginning: Beginning, note: Note) -> None:
    """On the registry's thread: what the config begins with is registered, and serves if need be.

    It need not where it did so before, and others have been released since; nor where the config
    names none and the code came with another one, unless that was never followed by a release.
    """
    state = registry.read().state
    is_same = state.base == beginning.version
    was_released = bool(state.serving) and state.serving != state.base
    if is_same or (was_released and not beginning.is_named):
        return
    registry.add(beginning.folder)
    registry.change(lambda held: held.adopting(beginning.version, note))


def _told(registry: Registry) -> list[dict[str, Any]]:
    """On the registry's thread: what each version says of itself."""
    wanted = ("created_at", "parent", "rows", "code_version", "metrics", "data")
    told: list[dict[str, Any]] = []
    for version in registry.versions():
        try:
            manifest = registry.manifest(version)
        except ArtifactError as fault:
            told.append({"version": version, "fault": str(fault)})
            continue
        told.append({"version": version, **{name: manifest.get(name) for name in wanted}})
    return told
