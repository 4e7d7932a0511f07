"""Over HTTP: what may be drawn at random, what never is, and what the log says of both."""

from __future__ import annotations

from pathlib import Path

import pytest

from sidecar.traffic.reader import read_folder
from sidecar.traffic.record import RequestRecord
from tests.integration.conftest import DEMO, Start

RULED = """
[[router.rules]]
name = "fixed"
when = { tags = ["fixed"] }
route = { tier = "medium" }

"""


def _config(folder: Path, share: float) -> str:
    log = f'[traffic]\ndir = "{folder / "traffic"}"\n\n'
    return f"{log}[router]\nexploration = {share}\n\n{RULED}"


def _records(folder: Path) -> list[RequestRecord]:
    found = read_folder(folder / "traffic")
    return [record for record in found if isinstance(record, RequestRecord)]


@pytest.mark.parametrize(
    ("model", "headers"),
    [
        pytest.param("small", {}, id="a-tier-by-name"),
        pytest.param("demo-large", {}, id="a-model-by-name"),
        pytest.param("auto", {"x-sidecar-bypass": "1"}, id="bypass"),
        pytest.param("auto", {"x-sidecar-quality": "0"}, id="the-cheapest"),
        pytest.param("auto", {"x-sidecar-quality": "best"}, id="the-best"),
        pytest.param(
            "auto", {"x-sidecar-min-tier": "large", "x-sidecar-max-tier": "large"}, id="bounds"
        ),
        pytest.param("auto", {"x-sidecar-tags": "fixed"}, id="a-rule"),
    ],
)
async def test_what_was_named_is_never_drawn(
    start: Start, tmp_path: Path, model: str, headers: dict[str, str]
) -> None:
    """Though every request that may be drawn is: the tier that was asked for is asked."""
    sidecar = await start(DEMO, _config(tmp_path, 1.0))
    for number in range(6):
        await sidecar.ask(f"What is {number} plus 7?", headers, model=model)
    sidecar.lasting.log.close()
    records = _records(tmp_path)
    assert len(records) == 6
    assert {record.propensity for record in records} == {1.0}
    assert "explored" not in {record.decision_reason for record in records}


@pytest.mark.parametrize(("share", "is_explored"), [(1.0, True), (0.0, False)], ids=["on", "off"])
async def test_the_log_knows_the_chance(
    start: Start, tmp_path: Path, share: float, *, is_explored: bool
) -> None:
    """What was drawn says so with its propensity; switched off, nothing is drawn."""
    sidecar = await start(DEMO, _config(tmp_path, share))
    for number in range(12):
        await sidecar.ask(f"What is {number} plus 7?")
    sidecar.lasting.log.close()
    records = _records(tmp_path)
    assert ("explored" in {record.decision_reason for record in records}) is is_explored
    chances = {round(record.propensity, 6) for record in records}
    assert chances == ({round(1 / 3, 6)} if is_explored else {1.0})
