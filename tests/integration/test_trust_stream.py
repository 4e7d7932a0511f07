"""The verb `trust` against a real sidecar: a stream of written groups, from cold to its report."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from loadtest.hits import trust
from tests.integration.conftest import BUNDLE

GROUPS = [
    {
        "base": f"What is {n} plus 7?",
        "same": [f"How much is {n} plus 7?", f"what is {n} plus 7"],
        "near": [{"text": f"What is {n} minus 7?", "trap": "operation"}],
    }
    for n in range(12, 18)
]


async def test_the_sidecar_stands_beside_its_rivals(tmp_path: Path) -> None:
    """It serves other wordings and no look-alike; its estimate and a rival's errors are told."""
    if not BUNDLE.exists():
        pytest.skip("no encoder bundle in .sidecar/encoder: run `make encoder`")
    path = tmp_path / "groups.jsonl"
    path.write_text("".join(json.dumps(group) + "\n" for group in GROUPS))
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    trust.add_arguments(parser)
    words = ["--data", str(path), "--requests", "60", "--streams", "1", "--verify-share", "1"]
    found = await trust.report(parser.parse_args(words))
    told = found.figures["groups.jsonl"]
    ours, loose = told["rules"][trust.SIDECAR]["all"], told["rules"]["cosine 0.80"]["all"]
    assert ours["by meaning"]["value"] > 0
    assert ours["wrong of hits"]["value"] == 0.0
    assert loose["wrong of hits"]["value"] > 0.1
    [live] = told["live"]
    assert live["estimate"]["value"] == 0.0
    assert 0 < live["sampled"] <= live["checks"]["right"]
    assert live["partition"]["low"] < live["partition"]["value"] < live["partition"]["high"]
    assert live["states"]["open"] == 1
    assert told["unanswered"] == [0]
