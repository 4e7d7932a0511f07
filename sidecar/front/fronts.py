"""What `[server] workers` asks for, put together: the table, the doors for fronts, and the fronts.

It is built in two steps, for what keeps answers is told of the display before there is a pipeline.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final, Literal

from aiohttp import web
from aiohttp.typedefs import Middleware

from sidecar.admission.admission import Admission
from sidecar.errors import ConfigError
from sidecar.front import table
from sidecar.front.crew import Crew
from sidecar.front.display import Display
from sidecar.front.owner import Meter, OwnerApi, Store
from sidecar.front.worker import FrontConfig
from sidecar.pipeline import Pipeline
from sidecar.web.listen import ServerConfig, UnixDoor

LOOK_S: Final = 0.1
"""Chosen: how long a hit may name the artifact that served before."""


class Fronts:
    """The owner's side of all of it. Lives on the main loop.

    Attributes:
        display: What fronts may give away.
    """

    def __init__(self, config: ServerConfig, stack: AsyncExitStack) -> None:
        """Make the shared memory and the sockets' folder.

        Raises:
            ConfigError: There is no folder to write to.
        """
        self._config = config
        try:
            self._folder = Path(tempfile.mkdtemp(prefix="sidecar-"))  # nobody else's to enter
        except OSError as fault:
            told = f"server.workers: no folder for sockets ({fault.strerror}); set TMPDIR"
            raise ConfigError([told]) from fault
        stack.callback(shutil.rmtree, self._folder, ignore_errors=True)
        self._handle = table.created()
        stack.callback(os.close, self._handle)
        self.display = Display(self._handle)
        stack.callback(self.display.close)
        self._looking: asyncio.Task[None] | None = None

    async def open(
        self,
        stack: AsyncExitStack,
        *,
        make_app: Callable[[Middleware], web.Application],
        pipeline: Callable[[], Pipeline],
        admission: Admission,
        store: Store,
        meter: Meter,
        gauge: Callable[[str, str, Callable[[], float]], None],
        log_level: Literal["debug", "info", "warning", "error"],
        logger: logging.Logger,
    ) -> tuple[int, UnixDoor]:
        """Start the fronts; the port they listen on, and the door that they relay to.

        `make_app` gives the data plane's application, with one middleware around all.

        Raises:
            ConfigError: The port is taken, or the fronts do not come up.
        """
        crew = Crew(
            count=self._config.workers,
            config=FrontConfig(
                listener=-1,
                table=self._handle,
                secret=secrets.token_hex(32),
                plane=str(self._folder / "plane"),
                control=str(self._folder / "control"),
                max_connections=max(1, self._config.max_connections // self._config.workers),
                send_timeout_s=self._config.send_timeout_s,
                drain_s=self._config.drain_s,
                log_level=log_level,
            ),
            logger=logger,
            on_restart=meter.restarted,
        )
        gauge("sidecar_workers", "Fronts that take requests", lambda: crew.alive)
        owner = OwnerApi(
            display=self.display,
            pipeline=pipeline,
            admission=admission,
            store=store,
            meter=meter,
            on_ready=crew.is_ready,
        )
        control = web.Application(client_max_size=4 * 2**20)
        control.add_routes(owner.control_routes())
        plane = UnixDoor(make_app(owner.showing()), self._folder / "plane")
        for door in (UnixDoor(control, self._folder / "control"), plane):
            await door.open()
            stack.push_async_callback(door.close)
        port = crew.listen(self._config.host, self._config.port)
        self._crew = crew
        stack.push_async_callback(crew.end, 0.0)
        await crew.start()
        self._looking = asyncio.create_task(_look_forever(owner))
        stack.push_async_callback(self._close)
        self.display.ready()
        return port, plane

    async def end(self) -> None:
        """Have the fronts finish what they have begun; nobody takes connections any more."""
        await self._crew.end(self._config.drain_s)

    async def _close(self) -> None:
        assert self._looking is not None  # noqa: S101 - opened
        self._looking.cancel()
        await asyncio.gather(self._looking, return_exceptions=True)


async def _look_forever(owner: OwnerApi) -> None:
    while True:
        owner.look()
        await asyncio.sleep(LOOK_S)
