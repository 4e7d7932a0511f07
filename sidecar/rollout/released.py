"""The registry's state in, arms that decide by it out, for as long as it changes.

1. The state file is looked at once a second, on a thread of its own; what a command writes there
   holds within that time, and what is changed through `change` at once. A new artifact is loaded,
   checked and fitted to the ladder before anything is swapped; one that does not fit changes
   nothing.
2. No registry, or a disk that fails: the artifact in force goes on, and the log says so.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar
from weakref import WeakSet

from router.artifact import Artifact
from router.errors import ArtifactError, RouterError
from router.policy import Router
from router.registry import Registry, Stamp
from router.release import Note, State
from sidecar.process.works import done_on
from sidecar.rollout.arms import Arms, Trial

T = TypeVar("T")

LOOK_S: Final = 1.0
"""Chosen: an operator who rolls back waits no longer; one `stat` a second is nothing."""


class Beginning(NamedTuple):
    """What a config begins with: an artifact's version, its folder, and whether it was named."""

    version: str
    folder: Path
    is_named: bool


class Released:
    """The one owner of what is released here. Lives on the event loop's thread.

    Attributes:
        state: What the registry says.
    """

    def __init__(
        self,
        *,
        registry: Registry | None,
        encoder_id: str,
        on_change: Callable[[State, State], None],
        logger: logging.Logger,
    ) -> None:
        """`on_change` hears the state before and after each swap."""
        self._registry = registry
        self._encoder_id = encoder_id
        self._on_change = on_change
        self._logger = logger
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="registry")
        self._arms: WeakSet[Arms] = WeakSet()
        self._artifacts: dict[str, Artifact] = {}
        self._stamp: Stamp | None = None
        self._looking = asyncio.Lock()
        self._following: asyncio.Task[None] | None = None
        self._beginning: asyncio.Task[None] | None = None
        self.state = State()

    @property
    def folder(self) -> Path | None:
        """The registry's; None if there is none."""
        return self._registry.folder if self._registry is not None else None

    @property
    def deciding(self) -> list[str]:
        """The versions that decide, one for each ladder that is in use."""
        return sorted({each.version for each in self._arms})

    async def start(self, beginning: Beginning | None, note: Note) -> None:
        """Take up what the registry holds, and follow it. Never raises."""
        if self._registry is None:
            return
        await self._begin(beginning, note)
        self._following = asyncio.create_task(self._follow())

    def begin_anew(self, beginning: Beginning | None, note: Note) -> None:
        """A config that names another artifact than it did takes hold. Returns at once."""
        self._beginning = asyncio.get_running_loop().create_task(self._begin(beginning, note))

    async def _begin(self, beginning: Beginning | None, note: Note) -> None:
        if beginning is not None:
            await self._try(lambda registry: _adopted(registry, beginning, note))
        await self.look()

    async def close(self) -> None:
        """End the look-out."""
        for task in (self._following, self._beginning):
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
            self._logger.error("the registry's artifact does not fit: %s", fault)  # noqa: TRY400 - the fault says it all
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
            await self.take(found.state)

    async def take(self, state: State) -> None:
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
        self._on_change(before, state)

    def _loaded(self, version: str, registry: Registry) -> Artifact:
        artifact = registry.load(version)
        artifact.check_encoder(self._encoder_id)
        return artifact

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

    async def change(self, step: Callable[[State], State]) -> State:
        """Change the registry, and decide by it at once.

        Raises:
            ArtifactError: There is none, `step` refuses, or it cannot be written.
        """
        if self._registry is None:
            raise ArtifactError("no registry is named in the config ([router] registry)")
        await done_on(self._thread, self._registry.change, step)
        await self.look()
        return self.state

    async def versions(self) -> list[dict[str, Any]]:
        """What each version in the registry says of itself."""
        if self._registry is None:
            return []
        return await done_on(self._thread, _told, self._registry)

    async def holds(self, version: str) -> bool:
        """The registry has that version, and it can be served here.

        Raises:
            RouterError: It has it, and it cannot.
        """
        registry = self._registry
        if registry is None or await done_on(self._thread, registry.find, version) is None:
            return False
        artifact = await done_on(self._thread, self._loaded, version, registry)
        for arms in self._arms:
            Router(ladder=arms.ladder, artifact=artifact, config=arms.config)
        return True

    async def _try(self, work: Callable[[Registry], T]) -> T | None:
        registry = self._registry
        if registry is None:
            return None
        try:
            return await done_on(self._thread, work, registry)
        except RouterError as fault:
            self._logger.error("registry: %s", fault)  # noqa: TRY400 - the fault says it all
            return None


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
