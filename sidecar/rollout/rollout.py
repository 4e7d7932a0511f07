"""Requests that are over and the operator's word in, the next step of a candidate's trial out.

1. A step of the trial is written to the registry first and holds here by being read again (see
   `released`): two sidecars over one registry make one step of it, whoever sees the evidence first.
2. A candidate that is found bad is not asked again, whatever the disk says.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import asdict
from decimal import Decimal
from typing import Any, Final, Protocol

from router.errors import RouterError
from router.registry import Registry
from router.release import Note, State
from sidecar.ledger import Ledger
from sidecar.rollout.arms import Arms
from sidecar.rollout.evidence import Evidence
from sidecar.rollout.guard import CanaryConfig, verdict
from sidecar.rollout.released import Beginning, Released
from sidecar.traffic.record import FeedbackRecord

SIDECAR: Final = "sidecar"


class Meter(Protocol):
    """Where counts go."""

    def routed(self, role: str) -> None:
        """A request was decided: `serving`, `canary`, or `shadow` for one asked beside it."""
        ...

    def released(self, action: str) -> None:
        """The registry changed."""
        ...


class Rollout:
    """What is released, and what is made of it. Lives on the event loop's thread."""

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
        self._config = config
        self._meter = meter
        self._clock = clock
        self._logger = logger
        self._released = Released(
            registry=registry, encoder_id=encoder_id, on_change=self._changed, logger=logger
        )
        self._evidence = Evidence()
        self._stepping: asyncio.Task[None] | None = None

    @property
    def state(self) -> State:
        """What the registry says."""
        return self._released.state

    async def start(self, beginning: Beginning | None) -> None:
        """Take up what the registry holds, and follow it. Never raises."""
        await self._released.start(beginning, self._beginning_note())

    def begin_anew(self, beginning: Beginning | None) -> None:
        """A config that names another artifact than it did takes hold. Returns at once."""
        self._released.begin_anew(beginning, self._beginning_note())

    def _beginning_note(self) -> Note:
        return self.noted(SIDECAR, "as the config names it")

    async def close(self) -> None:
        """End the look-out."""
        if self._stepping is not None:
            self._stepping.cancel()
            await asyncio.gather(self._stepping, return_exceptions=True)
        await self._released.close()

    def know(self, arms: Arms) -> Arms:
        """See Released."""
        return self._released.know(arms)

    async def look(self) -> None:
        """See Released."""
        await self._released.look()

    def _changed(self, before: State, state: State) -> None:
        if _stage(before) != _stage(state):
            self._evidence.begin_anew()
        self._tell(before, state)

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

    # What each arm comes to.

    def closed(self, ledger: Ledger, cost_usd: Decimal) -> None:
        """A request is over."""
        decision = ledger.decision
        if decision is None or not decision.version or not ledger.pays:
            return
        self._meter.routed(decision.role)
        if decision.rival:
            self._meter.routed("shadow")
        if self._evidence.add(ledger, cost_usd, self.state):
            self._weigh()

    def feedback(self, record: FeedbackRecord) -> None:
        """Somebody scored an answer."""
        if self._evidence.scored(record):
            self._weigh()

    def labelled(self, request_id: str, tenant: str, score: float) -> None:
        """Another tier's word: an answer would have stood, or not: 0 to 1."""
        if self._evidence.labelled(request_id, tenant, score):
            self._weigh()

    def _weigh(self) -> None:
        """Make the trial's next step, if it is time."""
        state = self.state
        if not state.candidate or (self._stepping is not None and not self._stepping.done()):
            return
        serving, candidate = self._evidence.of(state.serving), self._evidence.of(state.candidate)
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
            self._logger.error("the trial's step could not be written: %s", fault)  # noqa: TRY400 - the fault says it all
            # One that is found good begins its stage anew.
            self._evidence.begin_anew()
            if is_back:
                await self._released.take(step(self.state))

    # The operator's word.

    async def change(self, step: Callable[[State], State]) -> State:
        """See Released."""
        return await self._released.change(step)

    def noted(self, who: str, reason: str) -> Note:
        """A note of now."""
        return Note(at=self._clock(), who=who, reason=reason)

    async def overview(self) -> dict[str, Any]:
        """Versions, state and both arms' figures."""
        versions, state = await self._released.versions(), self.state
        arms = {
            role: dict[str, Any](version=version, **self._evidence.told(version))
            for role, version in (("serving", state.serving), ("candidate", state.candidate))
            if version
        }
        folder = self._released.folder
        return {
            "registry": str(folder) if folder is not None else None,
            "deciding": self._released.deciding,
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
        """See Released."""
        return await self._released.holds(version)


def _stage(state: State) -> tuple[str, float, str]:
    return state.candidate, state.share, state.serving
