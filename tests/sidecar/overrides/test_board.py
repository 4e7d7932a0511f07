"""The switchboard: persisted, restored, and tidied up behind what is over."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from sidecar.overrides.board import FILE, Board
from sidecar.overrides.override import Override, Switch
from tests.patience import until

LOGGER = logging.getLogger("test")


class FakeClock:
    def __init__(self) -> None:
        self.now_at = 1_000.0

    def __call__(self) -> float:
        return self.now_at


def override(clock: FakeClock, switch: Switch, lasts_s: float = 60.0) -> Override:
    return Override(
        switch=switch, reason="why", set_at=clock.now_at, expires_at=clock.now_at + lasts_s
    )


Open = Callable[[Path | None], Awaitable[Board]]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def opened(clock: FakeClock) -> AsyncIterator[Open]:
    boards: list[Board] = []

    async def start(path: Path | None) -> Board:
        boards.append(Board(path, clock, LOGGER))
        await boards[-1].start()
        return boards[-1]

    yield start
    for board in boards:
        await board.close()


async def test_a_switch_holds_for_the_next_request_and_after_a_restart(
    opened: Open, clock: FakeClock, tmp_path: Path
) -> None:
    """And the file is nobody else's to read."""
    path = tmp_path / "new" / FILE
    board = await opened(path)
    assert await board.set(override(clock, "cache-off"))
    assert not board.ruling("t").cache
    assert path.stat().st_mode & 0o777 == 0o600
    again = await opened(path)
    assert again.held == board.held
    assert not again.ruling("t").cache


async def test_what_was_lifted_or_is_over_does_not_come_back(
    opened: Open, clock: FakeClock, tmp_path: Path
) -> None:
    """A restart after the end finds nothing in force."""
    board = await opened(tmp_path / FILE)
    await board.set(override(clock, "cache-off"))
    await board.set(override(clock, "read-only", lasts_s=5.0))
    assert await board.lift(override(clock, "cache-off").key) == (True, True)
    assert await board.lift(override(clock, "cache-off").key) == (False, True)
    assert [each.switch for each in (await opened(tmp_path / FILE)).held] == ["read-only"]
    clock.now_at += 5.0
    assert (await opened(tmp_path / FILE)).held == ()
    assert board.ruling("t").writes


async def test_the_end_comes_without_a_request(
    opened: Open, clock: FakeClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The timer lets it go, says so, and writes the file anew."""
    caplog.set_level(logging.WARNING)
    board = await opened(tmp_path / FILE)
    await board.set(override(clock, "cache-off", lasts_s=0.001))
    clock.now_at += 1.0
    await until(lambda: "override expired" in caplog.text)
    await until(lambda: b"cache-off" not in _content(tmp_path / FILE))
    assert board.held == ()


def _content(path: Path) -> bytes:
    return path.read_bytes()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b'{"schema": 1, "overrides": [{"swi', id="torn"),
        pytest.param(b'{"schema": 2, "overrides": []}', id="of-a-later-version"),
        pytest.param(b'{"schema": 1, "overrides": [{"switch": "cache-off"}]}', id="lacking"),
        pytest.param(b"[1]", id="no-object"),
        pytest.param(b'{"schema": 1, "overrides": [7]}', id="no-override"),
    ],
)
async def test_a_file_that_cannot_be_read_is_put_aside_and_said(
    opened: Open, tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Never a crash, never overwritten, never silent."""
    path = tmp_path / FILE
    _write(path, content)
    board = await opened(path)
    assert board.held == ()
    assert "could not be read" in caplog.text
    assert _content(path.with_suffix(".foreign")) == content


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


async def test_a_disk_that_fails_costs_the_file_and_not_the_switch(
    opened: Open, clock: FakeClock, tmp_path: Path
) -> None:
    """It holds, and who set it is told that no disk has it in writing."""
    _write(tmp_path / "file", b"")
    board = await opened(tmp_path / "file" / FILE)
    assert not await board.set(override(clock, "cache-off"))
    assert not board.ruling("t").cache
    in_memory = await opened(None)
    assert not await in_memory.set(override(clock, "cache-off"))
    assert not in_memory.is_persisted
    assert in_memory.active("cache-off") == 1
