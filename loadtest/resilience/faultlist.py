"""The faults: each by its name, with what makes it begin and what ends it.

What can be done from outside is done from outside: to the vendor, to the files, to the process by
signals and limits, and by callers who behave badly. What cannot (an encoder or an index that
throws, a clock that jumps) is done to the libraries below the sidecar: see `sabotage`.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import shutil
import signal
import sqlite3
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from loadtest.resilience import villains
from loadtest.resilience.stage import Stage
from loadtest.vendors.certificate import self_signed

Deed = Callable[[Stage], Awaitable[None]]
_UNWRITABLE: Final = Path("/proc/sidecar-fault")
"""A folder that nobody can make, root included."""

_DAY_S: Final = 86_400


async def _nothing(_stage: Stage) -> None:
    """It is over by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One.

    Attributes:
        name: For the table.
        begin: Makes it so.
        end: Makes it well again; recovery is counted from then.
        is_harmless: No caller may notice: whatever is asked is answered.
        is_outage: Nobody can be served, kept answers included: the process is down.
        is_unbilled: The sidecar cannot know the bill: the answer was none, or its count was lost.
        may_lose: What was under way dies with the process.
    """

    name: str
    begin: Deed
    end: Deed = _nothing
    is_harmless: bool = False
    is_outage: bool = False
    is_unbilled: bool = False
    may_lose: bool = False


def _vendor(name: str, mischief: str, **how: bool) -> Fault:
    async def begin(stage: Stage) -> None:
        stage.vendor.mischief = mischief

    async def end(stage: Stage) -> None:
        stage.vendor.mischief = ""

    return Fault(name=f"vendor: {name}", begin=begin, end=end, **how)


def _library(name: str, said: str) -> Fault:
    async def begin(stage: Stage) -> None:
        stage.control.write_text(said)

    async def end(stage: Stage) -> None:
        stage.control.write_text("")

    return Fault(name=name, begin=begin, end=end, is_harmless=True)


def _caller(name: str, villain: villains.Villain) -> Fault:
    """Badly behaved callers beside the others, who must notice nothing."""
    running: list[asyncio.Task[None]] = []

    async def begin(stage: Stage) -> None:
        running.append(asyncio.create_task(villains.crowd(stage, villain)))

    async def end(_stage: Stage) -> None:
        task = running.pop()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    return Fault(name=f"callers: {name}", begin=begin, end=end, is_harmless=True)


def _limit(name: str, which: int, size: Callable[[Stage], int], **how: bool) -> Fault:
    """A limit of the process's own, set while it runs."""
    before: list[tuple[int, int]] = []

    async def begin(stage: Stage) -> None:
        before.append(resource.prlimit(stage.pid, which))
        resource.prlimit(stage.pid, which, (size(stage), before[-1][1]))

    async def end(stage: Stage) -> None:
        resource.prlimit(stage.pid, which, before.pop())

    return Fault(name=name, begin=begin, end=end, **how)


def _handles(stage: Stage) -> int:
    """As many as are open now: no connection more."""
    return len(list(Path(f"/proc/{stage.pid}/fd").iterdir()))


async def _refuse(stage: Stage) -> None:
    await stage.vendor.shut()


async def _listen(stage: Stage) -> None:
    await stage.vendor.open()


def _elsewhere(name: str, base_url: str) -> Fault:
    """A reload that names another place, and one that names the right one again."""

    async def begin(stage: Stage) -> None:
        stage.write_config(base_url=base_url)
        stage.tell(signal.SIGHUP)

    return Fault(name=f"vendor: {name}", begin=begin, end=_reload)


async def _reload(stage: Stage) -> None:
    stage.write_config()
    stage.tell(signal.SIGHUP)


async def _self_signed(stage: Stage) -> None:
    await stage.vendor.shut()
    await stage.vendor.open(self_signed(stage.folder))
    stage.write_config(base_url=f"https://127.0.0.1:{stage.vendor.port}/v1")
    stage.tell(signal.SIGHUP)


async def _plain_again(stage: Stage) -> None:
    await stage.vendor.shut()
    await stage.vendor.open()
    await _reload(stage)


def _locked() -> Fault:
    held: list[sqlite3.Connection] = []

    async def begin(stage: Stage) -> None:
        for name in ("cache.sqlite", "admission.sqlite"):
            connection = sqlite3.connect(stage.folder / name, isolation_level=None, timeout=5.0)
            connection.execute("BEGIN IMMEDIATE")
            held.append(connection)

    async def end(_stage: Stage) -> None:
        while held:
            held.pop().close()

    return Fault(
        name="disk: SQLite locked by another process", begin=begin, end=end, is_harmless=True
    )


def _overwrite(path: Path) -> None:
    """Noise from its second page on: what another program, or a dying disk, leaves behind."""
    with path.open("r+b") as file:
        size = file.seek(0, 2)
        file.seek(4_096)
        file.write(b"\xde\xad" * max(8_192, (size - 4_096) // 2))


async def _corrupt(stage: Stage) -> None:
    for name in ("cache.sqlite", "admission.sqlite"):
        _overwrite(stage.folder / name)


async def _corrupt_at_start(stage: Stage) -> None:
    await stage.stop()
    for path in stage.folder.glob("*.sqlite-*"):
        path.unlink()
    for name in ("cache.sqlite", "admission.sqlite"):
        (stage.folder / name).write_bytes(b"no database at all" * 1_000)
    await stage.begin()


async def _restart(stage: Stage) -> None:
    await stage.restart()


async def _unwritable(stage: Stage) -> None:
    await stage.stop()
    stage.write_config(folder=_UNWRITABLE)
    await stage.begin()


async def _writable(stage: Stage) -> None:
    stage.write_config()
    await stage.restart()


async def _no_log_folder(stage: Stage) -> None:
    shutil.rmtree(stage.folder / "traffic", ignore_errors=True)
    (stage.folder / "traffic").write_text("in the way")


async def _log_folder(stage: Stage) -> None:
    (stage.folder / "traffic").unlink()


async def _broken_config(stage: Stage) -> None:
    stage.config.write_bytes(b"[server\nport = \xff\xfe\n")
    stage.tell(signal.SIGHUP)


async def _no_config(stage: Stage) -> None:
    stage.config.unlink()
    stage.tell(signal.SIGHUP)


async def _pause(stage: Stage) -> None:
    stage.tell(signal.SIGSTOP)


async def _resume(stage: Stage) -> None:
    stage.tell(signal.SIGCONT)


async def _kill(stage: Stage) -> None:
    assert stage.process is not None  # noqa: S101 - it runs
    stage.process.kill()


async def _begin(stage: Stage) -> None:
    await stage.begin()


async def _terminate(stage: Stage) -> None:
    await stage.stop()


FAULTS: Final = (
    Fault(name="vendor: refuses connections", begin=_refuse, end=_listen),
    _vendor("never answers", "hang"),
    _vendor("says 200, then nothing", "hang-after-head"),
    _vendor("resets at once", "reset"),
    _vendor("resets midway", "reset-midway"),
    _vendor("ends midway, politely", "truncate"),
    _vendor("falls silent midway", "stall"),
    _vendor("an error midway", "error-midway"),
    _vendor("garbage", "garbage"),
    _vendor("not even HTTP", "no-http"),
    _vendor("JSON of another shape", "odd-shape"),
    _vendor("a login page", "wrong-kind"),
    _vendor("an empty answer", "empty"),
    _vendor("redirects", "redirect"),
    _vendor("every chunk twice", "twice", is_harmless=True),
    _vendor("a slow drip", "drip", is_harmless=True),
    _vendor("an answer without end", "huge"),
    _vendor("gzip that is none", "false-packing", is_unbilled=True),
    _vendor("bytes that are no UTF-8", "odd-letters", is_unbilled=True),
    _vendor("429 to everybody", "429"),
    _vendor("500 to everybody", "500"),
    _vendor("503 with retry-after", "503"),
    _vendor("our key revoked", "401"),
    _elsewhere("its name does not resolve", "http://no-such-host.invalid/v1"),
    Fault(name="vendor: a self-signed certificate", begin=_self_signed, end=_plain_again),
    _elsewhere("TLS is asked of a plain port", "https://127.0.0.1:1/v1"),
    _library("encoder: throws", "encoder throw"),
    _library("encoder: hangs", "encoder hang"),
    _library("encoder: takes a second", "encoder slow"),
    _library("index: throws", "index throw"),
    _library("clock: a day ahead", f"clock {_DAY_S}"),
    _library("clock: a day back", f"clock -{_DAY_S}"),
    _locked(),
    _limit("disk: full", resource.RLIMIT_FSIZE, lambda _: 1, is_harmless=True),
    Fault(name="disk: files corrupted under way", begin=_corrupt, is_harmless=True),
    Fault(name="disk: a start on those files", begin=_restart, is_outage=True, is_unbilled=True),
    Fault(
        name="disk: files are none at the start",
        begin=_corrupt_at_start,
        is_outage=True,
        is_unbilled=True,
    ),
    Fault(
        name="disk: a folder that cannot be written",
        begin=_unwritable,
        end=_writable,
        is_outage=True,
        is_unbilled=True,
    ),
    Fault(
        name="disk: the log's folder is gone",
        begin=_no_log_folder,
        end=_log_folder,
        is_harmless=True,
    ),
    _limit("process: no file handle left", resource.RLIMIT_NOFILE, _handles, is_outage=True),
    Fault(name="process: paused", begin=_pause, end=_resume, is_harmless=True),
    Fault(name="process: SIGTERM under load", begin=_terminate, end=_begin, is_outage=True),
    Fault(
        name="process: kill -9 under load",
        begin=_kill,
        end=_begin,
        is_outage=True,
        is_unbilled=True,
        may_lose=True,
    ),
    Fault(
        name="process: SIGHUP, the config broken",
        begin=_broken_config,
        end=_reload,
        is_harmless=True,
    ),
    Fault(name="process: SIGHUP, the config gone", begin=_no_config, end=_reload, is_harmless=True),
    _caller("leave before the body", villains.leave_before_body),
    _caller("leave in the midst of it", villains.leave_in_body),
    _caller("leave before the first byte", villains.leave_before_answer),
    _caller("leave midway in a stream", villains.leave_in_stream),
    _caller("read slowly", villains.read_slowly),
)
