"""Collect and label: every tier asked once, what was paid for kept, and rows that fit takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import orjson
import pytest

from train.__main__ import main
from train.errors import DataError
from train.samples.asking import done_ids
from train.samples.collect import read_prompts
from train.samples.tier3 import read_tier3

CONFIG = """
[[upstreams]]
name = "demo"
kind = "demo"
speed = 0.0
[[tiers]]
name = "small"
model = "demo-small"
upstreams = ["demo"]
price_in_usd_per_mtok = 0.2
price_out_usd_per_mtok = 0.2
[[tiers]]
name = "large"
model = "demo-large"
upstreams = ["demo"]
price_in_usd_per_mtok = 2.5
price_out_usd_per_mtok = 10.0
"""


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path, Path]:
    config, prompts = tmp_path / "sidecar.toml", tmp_path / "prompts.jsonl"
    config.write_text(CONFIG)
    lines: list[Any] = [f"What is {number} plus 7?" for number in range(1, 7)]
    lines.append({"id": "hard", "query": "What is (17 * 23 + 5) * 7?", "gold": "2772"})
    prompts.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return config, prompts, tmp_path / "rows.jsonl"


def collect(config: Path, prompts: Path, out: Path, *more: str) -> int:
    words = ["--prompts", prompts, "--config", config, "--out", out]
    return main(["collect", *map(str, words), "--concurrency", "1", *more])


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def test_every_tier_is_asked_once_for_each_prompt(files: tuple[Path, Path, Path]) -> None:
    """The rows are of the tier3 shape; the same command again asks nobody."""
    config, prompts, out = files
    assert collect(config, prompts, out) == 0
    rows = rows_of(out)
    assert len(rows) == 7
    for row in rows:
        assert set(row["answers"]) == {"small", "large"}
        assert all(told["cost_usd"] > 0 for told in row["answers"].values())
    assert {row["id"]: row["answers"]["large"]["correct"] for row in rows}["hard"] in {0, 1}
    assert rows[0]["answers"]["small"]["correct"] is None
    before = out.read_bytes()
    assert collect(config, prompts, out) == 0
    assert out.read_bytes() == before


def test_what_was_begun_goes_on_where_it_stopped(files: tuple[Path, Path, Path]) -> None:
    """A torn last line is asked again; whole ones stand as they were paid for."""
    config, prompts, out = files
    assert collect(config, prompts, out) == 0
    lines = out.read_bytes().splitlines(keepends=True)
    out.write_bytes(b"".join(lines[:3]) + lines[3][:20])
    assert len(done_ids(out)) == 3
    assert collect(config, prompts, out) == 0
    assert {row["id"] for row in rows_of(out)} == {orjson.loads(line)["id"] for line in lines}
    assert out.read_bytes().startswith(b"".join(lines[:3]))


def test_a_spent_budget_ends_it(
    files: tuple[Path, Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """No row begins once it is spent; the exit status tells that some are left."""
    config, prompts, out = files
    assert collect(config, prompts, out, "--budget-usd", "0.000001", "--json") == 1
    told = json.loads(capsys.readouterr().out)
    assert told["budget_spent"]
    assert (told["rows"], told["left"]) == (1, 6)


def test_rows_without_labels_are_not_fitted_on(files: tuple[Path, Path, Path]) -> None:
    """The refusal names the verb that helps."""
    config, prompts, out = files
    collect(config, prompts, out)
    with pytest.raises(DataError, match="train label"):
        read_tier3([out])


@pytest.mark.parametrize("by", ["agreement", "judge"])
def test_rows_are_labelled_against_the_dearest_tier(
    by: str, files: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    """Then they are rows that training reads; what the two tiers share is right."""
    config, prompts, out = files
    collect(config, prompts, out)
    labelled = tmp_path / "labelled.jsonl"
    words = ["label", "--rows", out, "--out", labelled, "--by", by, "--config", config]
    assert main(list(map(str, words))) == 0
    examples = read_tier3([labelled])
    assert len(examples) == 7
    assert all(example.answers["large"].correct == 1.0 for example in examples)
    assert {row["labelled_by"] for row in rows_of(labelled)} == {by}
    easy = [example for example in examples if "plus" in example.query]
    assert any(example.answers["small"].correct == 1.0 for example in easy)


def test_gold_labels_need_gold(files: tuple[Path, Path, Path], tmp_path: Path) -> None:
    """A row without it is named; a judge without a config is refused."""
    config, prompts, out = files
    collect(config, prompts, out)
    other = str(tmp_path / "labelled.jsonl")
    assert main(["label", "--rows", str(out), "--out", other, "--by", "gold"]) == 2
    assert main(["label", "--rows", str(out), "--out", other, "--by", "judge"]) == 2


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("{", id="no JSON"),
        pytest.param("7", id="a number"),
        pytest.param('{"id": "1"}', id="asks nothing"),
        pytest.param('" "', id="blank"),
    ],
)
def test_a_line_that_is_no_prompt_is_named(line: str, tmp_path: Path) -> None:
    """File and line stand in the refusal."""
    path = tmp_path / "prompts.jsonl"
    path.write_text('"good?"\n' + line + "\n")
    with pytest.raises(DataError, match=r"prompts\.jsonl, line 2"):
        list(read_prompts(path))
