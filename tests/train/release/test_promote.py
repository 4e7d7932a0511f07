"""The gate: better passes, worse is refused, a slice that lost is named; the registry knows."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import msgpack
import numpy as np
import pytest

from router.artifact import Artifact, content_hash
from router.registry import Registry
from sidecar.traffic.record import (
    AttemptRecord,
    FeedbackRecord,
    Record,
    RequestRecord,
    packed_vector,
    to_map,
)
from train.errors import DataError
from train.fitting.fit import from_data, from_traffic
from train.release import rollback
from train.release.promote import REFUSED, promote
from train.samples.tier3 import read_tier3
from train.samples.traffic import read_traffic
from train.samples.vectors import TextEncoder, vectors_of
from train.scoring.replay import tiers_of
from train.weighing import gate, logged


@pytest.fixture(scope="module")
def fitted(
    tier3_file: Path, session_encoder: TextEncoder, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A sound artifact, fitted on half the rows."""
    folder = tmp_path_factory.mktemp("fitted")
    half = folder / "half.jsonl"
    half.write_text("".join(tier3_file.read_text().splitlines(keepends=True)[:240]))
    args = argparse.Namespace(seed=0, data=[half], work=folder / "work", precisions=[])
    from_data(args, session_encoder).save(folder / "artifact")
    return folder / "artifact"


@pytest.fixture(scope="module")
def held_out(tier3_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The other half."""
    path = tmp_path_factory.mktemp("rows") / "rest.jsonl"
    path.write_text("".join(tier3_file.read_text().splitlines(keepends=True)[240:]))
    return path


def changed(source: Path, out: Path, **shifts: float) -> Path:
    """The artifact with its tiers thought better or worse of: `t0` the smallest."""
    artifact = Artifact.load(source)
    arrays = {name: np.array(values) for name, values in artifact.arrays.items()}
    for name, shift in shifts.items():
        arrays["shift_bias"][int(name[1:])] += shift
    manifest = {**artifact.manifest, "version": f"20260101-{content_hash(arrays)}"}
    Artifact.build(manifest, arrays).save(out)
    return out


def _args(folder: Path, artifact: Path, **more: object) -> argparse.Namespace:
    told: dict[str, object] = {
        "artifact": artifact,
        "data": None,
        "traffic": None,
        "registry": folder / "registry",
        "against": None,
        "margin": None,
        "reason": "",
        "force": "",
        "work": folder / "work",
        "json": True,
        "seed": 0,
        "traffic_key": "",
        "mlflow": "",
    }
    return argparse.Namespace(**told | more)


def test_a_better_artifact_passes_and_a_worse_one_is_refused(
    fitted: Path,
    held_out: Path,
    tmp_path: Path,
    encoder: TextEncoder,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What is refused leaves the registry as it was; forced, it is on trial and says why."""
    bad = changed(fitted, tmp_path / "bad", t0=40.0)  # thinks the small tier always right
    good = _args(tmp_path, fitted, data=[held_out], against=bad)
    assert promote(good, encoder) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["passed"]
    assert told["stage"] == "shadow"
    registry = Registry(tmp_path / "registry")
    state = registry.read().state
    assert (state.serving, state.candidate) == (told["serving"], told["candidate"])

    other = tmp_path / "other"
    worse = _args(other, bad, data=[held_out], against=fitted)
    assert promote(worse, encoder) == REFUSED
    told = json.loads(capsys.readouterr().out)
    assert not told["passed"]
    assert [each["name"] for each in told["worse"]] == ["hard"]
    assert not (other / "registry").exists()

    worse.force = "to try the guard"
    assert promote(worse, encoder) == 0
    state = Registry(other / "registry").read().state
    assert state.stage == "shadow"
    assert state.history[-1].reason == "forced: to try the guard"
    capsys.readouterr()
    assert rollback.run(argparse.Namespace(registry=other / "registry", reason="", json=True)) == 0
    assert Registry(other / "registry").read().state.stage == "none"


def test_rows_that_it_was_fitted_on_prove_nothing(
    tier3_file: Path, tmp_path: Path, fitted: Path, encoder: TextEncoder
) -> None:
    """The manifest's hashes are looked at; too few rows are refused as well."""
    half = fitted.parent / "half.jsonl"
    other = changed(fitted, tmp_path / "other", t0=1.0)
    with pytest.raises(DataError, match="never saw"):
        promote(_args(tmp_path, fitted, data=[half], against=other), encoder)
    few = tmp_path / "few.jsonl"
    few.write_text("".join(tier3_file.read_text().splitlines(keepends=True)[-20:]))
    with pytest.raises(DataError, match="too few"):
        promote(_args(tmp_path, fitted, data=[few], against=other), encoder)


def test_the_gate_tells_an_artifact_from_itself_by_nothing(
    fitted: Path, held_out: Path, tmp_path: Path, encoder: TextEncoder
) -> None:
    """Every lead is zero, no slice got worse, and it passes at any margin."""
    examples = read_tier3([held_out])
    artifact = Artifact.load(fitted)
    report = gate.compare(
        artifact,
        artifact,
        examples,
        vectors_of(examples, encoder, tmp_path),
        tiers=tiers_of(examples),
        margin=0.0,
    )
    assert report.passed
    assert {check.lead for check in report.checks} == {0.0, None}
    assert report.worse == ()
    assert "passed" in report.gist()


RIGHT = 0.95


def log_of(folder: Path, encoder: TextEncoder, rows: int, seed: int = 0) -> Path:
    """Requests whose entry tier was drawn evenly; all tiers are as good, and the large one dear."""
    dice = np.random.default_rng(seed)
    tiers = ("small", "medium", "large")
    records: list[Record] = []
    for number in range(rows):
        words = "a hard one" if number % 2 else "an easy one"
        question = f"Question {number}, {words}: which is it?\nA. yes\nB. no"
        place = int(dice.integers(3))
        cost = (1e-5, 1e-4, 5e-3)[place]
        records.append(
            RequestRecord(
                request_id=str(number),
                at=1.0,
                tenant="t",
                question=question,
                encoder_id=encoder.encoder_id,
                vector=packed_vector(encoder.encode([question]).vectors[0]),
                tokens_in=20,
                allowed=tiers,
                entry_tier=tiers[place],
                decision_reason="explored",
                propensity=1 / 3,
                quality=0.8,
                served_tier=tiers[place],
                cost_usd=str(cost),
                attempts=(
                    AttemptRecord(
                        tier=tiers[place],
                        model="m",
                        upstream="u",
                        outcome="answered",
                        tokens_in=20,
                        tokens_out=int(dice.integers(40, 160)),
                        cost_usd=str(cost),
                        answer="The answer is (A).",
                    ),
                ),
            )
        )
        score = float(dice.random() < RIGHT)
        records.append(FeedbackRecord(request_id=str(number), at=2.0, tenant="t", score=score))
    folder.mkdir()
    packed = b"".join(msgpack.packb(to_map(record)) for record in records)
    (folder / "20261121T000000.msgpack").write_bytes(packed)
    return folder


def test_a_log_with_exploration_tells_worse_from_better(
    fitted: Path, tmp_path: Path, encoder: TextEncoder
) -> None:
    """Nobody is asked: the chances that were logged are enough to see what another entry gains."""
    log = log_of(tmp_path / "log", encoder, 900)
    good = Artifact.load(fitted)
    lost = changed(fitted, tmp_path / "bad", t0=-40.0, t1=-40.0)
    bad = Artifact.load(lost)  # begins with large, always
    report, told = logged.compare(bad, good, log, encoder.encoder_id)
    worth = report.checks[0]
    assert not report.passed
    assert worth.lead is not None
    assert worth.lead < 0.0
    assert told["candidate"]["cost_usd"]["dr"]["value"] > told["serving"]["cost_usd"]["dr"]["value"]
    report, _ = logged.compare(good, good, log, encoder.encoder_id)
    assert report.passed


def test_a_log_of_few_labels_cannot_tell(
    fitted: Path, tmp_path: Path, encoder: TextEncoder
) -> None:
    """And says so, rather than let pass."""
    log = log_of(tmp_path / "log", encoder, 40)
    artifact = Artifact.load(fitted)
    with pytest.raises(DataError, match="too few"):
        logged.compare(artifact, artifact, log, encoder.encoder_id)


def test_of_a_log_the_gate_asks_what_the_fit_left_out(
    fitted: Path, tmp_path: Path, encoder: TextEncoder
) -> None:
    """One request in five takes no part in the fit, and of it alone the candidate is judged."""
    log = log_of(tmp_path / "log", encoder, 600)
    kept = read_traffic(log, encoder.encoder_id, for_fit=True)
    every = read_traffic(log, encoder.encoder_id)
    assert len(kept) / len(every) == pytest.approx(0.8, abs=0.06)
    args = argparse.Namespace(
        traffic=log, parent=fitted, work=tmp_path / "work", seed=0, traffic_key=""
    )
    child = from_traffic(args, encoder)
    report, _ = logged.compare(child, Artifact.load(fitted), log, encoder.encoder_id)
    assert report.rows == len(every) - len(kept)
