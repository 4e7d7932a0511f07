"""Runs told to a real MLflow store in a folder; nobody is told, and nothing imported, unasked."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from router.artifact import DEFAULT, Artifact
from train.__main__ import main
from train.errors import TrackingError
from train.scoring.tracking import EXPERIMENT, numbers, track


def _track(uri: str) -> str:
    return track(
        argparse.Namespace(mlflow=uri),
        "fit",
        params={"version": "v", "tiers": ("small", "large"), "seed": 0},
        metrics={"metrics": {"small": {"log_loss": 0.5}}, "refit": None, "passed": True},
        documents={"manifest.json": dict(Artifact.load(DEFAULT).manifest)},
    )


def test_a_run_is_told_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parameters, numbers by their paths, and the artifact's manifest, in one finished run."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # else a folder is refused by MLflow 3
    uri = (tmp_path / "runs").as_uri()
    run_id = _track(uri)
    from mlflow.tracking import MlflowClient  # noqa: PLC0415 - takes seconds, and is an extra

    client: Any = MlflowClient(tracking_uri=uri)
    (run,) = client.search_runs([client.get_experiment_by_name(EXPERIMENT).experiment_id])
    assert run.info.run_id == run_id
    assert run.info.status == "FINISHED"
    assert run.data.params == {"version": "v", "tiers": "('small', 'large')", "seed": "0"}
    assert run.data.metrics == {"metrics.small.log_loss": 0.5, "passed": 1.0}
    kept = Path(client.download_artifacts(run_id, "manifest.json", str(tmp_path)))
    assert json.loads(kept.read_text())["version"] == Artifact.load(DEFAULT).version


def test_the_store_may_come_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow's own variable; without it and the flag nobody is told."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert _track("") == ""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "runs").as_uri())
    assert _track("") != ""


def test_a_store_that_refuses_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scheme that the light half of MLflow does not know."""
    with pytest.raises(TrackingError, match="sqlite:////nowhere refused the run"):
        _track("sqlite:////nowhere")


def test_mlflow_is_imported_only_where_it_is_asked_for() -> None:
    """And where the extra is missing the refusal says how to install it."""
    script = (
        "import argparse, sys\n"
        "import train.fitting.fit, train.weighing.evaluate, train.release.promote\n"
        "from train.scoring.tracking import track\n"
        "def told(uri):\n"
        "    return track(argparse.Namespace(mlflow=uri), 'fit', params={}, metrics={},"
        " documents={})\n"
        "assert told('') == '' and 'mlflow' not in sys.modules\n"
        "sys.modules['mlflow'] = None\n"
        "told('http://127.0.0.1:9')\n"
    )
    done = subprocess.run(  # noqa: S603 - our own words
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert "semantic-sidecar[tracking]" in done.stderr.splitlines()[-1]
    assert "TrackingError" in done.stderr


def test_numbers_are_named_by_their_paths() -> None:
    """At any depth; what is no number is passed over, and odd characters of a name are covered."""
    told = {"a": {"b, given none": 1, "c": "x"}, "d": None, "e": [1, 2], "f": True}
    assert dict(numbers(told)) == {"a.b_ given none": 1.0, "f": 1.0}


def test_a_verb_has_the_flag(capsys: pytest.CaptureFixture[str]) -> None:
    """`fit`, `evaluate` and `promote` know it."""
    for verb in ("fit", "evaluate", "promote"):
        with pytest.raises(SystemExit):
            main([verb, "--help"])
        assert "--mlflow URI" in capsys.readouterr().out
