"""Fit, evaluate and report, end to end on synthetic rows; then from a log."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import msgpack
import numpy as np
import pytest

from router.artifact import Artifact
from router.policy import Router, RouterConfig
from sidecar.traffic.record import (
    AttemptRecord,
    FeedbackRecord,
    Record,
    RequestRecord,
    packed_vector,
    to_map,
)
from train.errors import DataError
from train.fitting.fit import from_data, from_traffic, share_table
from train.fitting.learn import rowset
from train.fitting.shift import fit_shift, shifted
from train.fitting.trees import DEFAULT, fit_trees, forest_of
from train.samples.examples import Answered, Example
from train.samples.tier3 import read_tier3
from train.samples.traffic import read_traffic
from train.samples.vectors import TextEncoder, vectors_of
from train.scoring.replay import ladder_of, tiers_of
from train.weighing import report
from train.weighing.evaluate import evaluate, gist


class CountingEncoder(TextEncoder, Protocol):
    encoded: int


def _args(**values: object) -> argparse.Namespace:
    return argparse.Namespace(**{"seed": 0, "traffic_key": "", "precisions": [], **values})


@pytest.fixture(scope="module")
def fitted(
    tier3_file: Path, session_encoder: TextEncoder, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("artifact")
    from_data(_args(data=[tier3_file], work=folder / "work"), session_encoder).save(folder)
    return folder


def test_fitted_router_beats_random_mixing(
    fitted: Path, tier3_file: Path, tmp_path: Path, encoder: TextEncoder
) -> None:
    """On rows with a pattern the curve lies above the mix of single tiers; every figure is told."""
    told = evaluate(fitted, [tier3_file], tmp_path, 0, encoder=encoder)
    assert told["methods"]["router"]["auc"] > told["methods"]["single"]["auc"] + 0.02
    assert told["methods"]["oracle"]["auc"] >= told["methods"]["router"]["auc"]
    assert told["curve"][0]["usd_per_1k"] < told["named"]["balanced"]["usd_per_1k"]
    assert told["domains"]["easy"]["usd_per_1k"] < told["domains"]["hard"]["usd_per_1k"]
    assert json.loads(json.dumps(told))["rows"] == 400
    assert "router" in gist(told)


def test_the_page_shows_what_was_asked_for(
    fitted: Path, tier3_file: Path, tmp_path: Path, encoder: TextEncoder
) -> None:
    """One page that needs no other file; against another artifact it names what got worse."""
    worse = Artifact.load(fitted)
    arrays = {
        **worse.arrays,
        "shift_bias": worse.arrays["shift_bias"] + np.array([40, 0, 0], np.float32),
    }
    Artifact.build({**worse.manifest, "version": "worse"}, arrays).save(tmp_path / "worse")
    args = _args(
        artifact=tmp_path / "worse",
        against=fitted,
        traffic=None,
        data=[tier3_file],
        work=tmp_path / "work",
    )
    told = report.figures(args, encoder)
    told = json.loads(json.dumps(told))
    page = report.page(told)
    assert page.count("<svg") == 3
    assert "http://www.w3.org" in page.split("<svg")[1][:400]  # a namespace, not a fetch
    assert "<script" not in page
    worse_off = {each["name"] for each in told["against"]["worse"]}
    assert "hard" in worse_off
    assert f"{len(worse_off)} domains are worth less beyond doubt" in page
    assert "FAIL" in page
    served = told["portrait"]["reliability"]["answer served"]
    assert sum(each["rows"] for each in served) <= 400
    assert all(each["low"] <= each["right"] <= each["high"] for each in served)
    point = told["portrait"]["balanced"]
    assert point["correct_interval"][0] < point["correct"] < point["correct_interval"][1]
    without = {name: part for name, part in told.items() if name != "against"}
    assert report.page(without).count("<svg") == 2


def test_vectors_are_encoded_once(
    tier3_file: Path, tmp_path: Path, encoder: CountingEncoder
) -> None:
    """An interrupted or repeated run takes the vectors kept in the work folder."""
    examples = read_tier3([tier3_file])
    first = vectors_of(examples, encoder, tmp_path)
    assert np.array_equal(first, vectors_of(examples, encoder, tmp_path))
    assert encoder.encoded == len(examples)


def test_forest_says_what_scikit_learn_says(
    tier3_file: Path, tmp_path: Path, encoder: TextEncoder
) -> None:
    """The arrays that leave training score every row as the fitted trees do."""
    examples = read_tier3([tier3_file])
    rows = rowset(examples, vectors_of(examples, encoder, tmp_path), tiers_of(examples))
    heads = [fit_trees(rows.question, rows.labels[:, place], 0, DEFAULT) for place in range(2)]
    forest = forest_of(heads, DEFAULT.depth, rows.question.shape[1])
    mine = np.array([forest.scores(row) for row in rows.question])
    theirs = np.array([head.predict(rows.question) for head in heads]).T
    assert np.allclose(mine, theirs, atol=1e-5)


def test_prices_are_read_off_the_bills(tier3_file: Path) -> None:
    """Least squares over the bills finds the prices that made them."""
    examples = read_tier3([tier3_file])
    tiers = tiers_of(examples)
    assert tiers == ("small", "medium", "large")
    price = ladder_of(examples, tiers)[2].price
    assert float(price.in_usd_per_mtok) == pytest.approx(2.5, abs=1e-3)
    assert float(price.out_usd_per_mtok) == pytest.approx(10.0, abs=1e-3)


def test_table_is_monotone_whatever_was_reached() -> None:
    """Shares rise from 0 to 1 and prices fall to 0, though the replay's quality wavers."""
    table = share_table(np.array([0.4, 0.5, 0.45, 0.7, 0.6]), np.array([90.0, 50, 20, 5, 0]))
    assert table["quality"][0] == 0
    assert table["quality"][-1] == 1
    assert np.all(np.diff(table["quality"]) > 0)
    assert np.all(np.diff(table["price"]) < 0)
    assert table["price"][-1] == 0


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("{", id="no JSON"),
        pytest.param('{"query": "q"}', id="no answers"),
        pytest.param('{"query": "q", "answers": {"small": {"text": "x"}}}', id="no tokens"),
    ],
)
def test_a_line_that_is_no_row_is_named(text: str, tmp_path: Path) -> None:
    """File and line stand in the refusal."""
    path = tmp_path / "rows.jsonl"
    path.write_text(text + "\n")
    with pytest.raises(DataError, match=r"rows\.jsonl, line 1"):
        read_tier3([path])


def _write_log(folder: Path, records: list[Record]) -> Path:
    folder.mkdir()
    packed = b"".join(msgpack.packb(to_map(record)) for record in records)
    (folder / "20261121T000000.msgpack").write_bytes(packed)
    return folder


def _request(name: str, question: str, encoder: TextEncoder, **more: object) -> RequestRecord:
    told: dict[str, object] = {
        "tenant": "t",
        "encoder_id": encoder.encoder_id,
        "vector": packed_vector(encoder.encode([question]).vectors[0]),
        "served_tier": "small",
        "attempts": (
            AttemptRecord(
                tier="small",
                model="m",
                upstream="u",
                outcome="answered",
                tokens_in=20,
                tokens_out=50,
                answer="The answer is (B).",
            ),
        ),
        **more,
    }
    return RequestRecord(request_id=name, at=1.0, question=question, **told)  # type: ignore[arg-type] # as above


def test_log_gives_labels_of_the_same_tenant_only(tmp_path: Path, encoder: TextEncoder) -> None:
    """A score labels the served answer, a right answer labels each attempt, strangers nothing."""
    larger = AttemptRecord(
        tier="large", model="m", upstream="u", outcome="answered", answer="It is (A): answer is A"
    )
    failed = AttemptRecord(tier="medium", model="m", upstream="u", outcome="UpstreamBusy")
    first = _request("1", "scored", encoder, propensity=0.5)
    second = _request("2", "given", encoder)
    second = _request("2", "given", encoder, attempts=(*second.attempts, failed, larger))
    log = _write_log(
        tmp_path / "log",
        [
            first,
            second,
            _request("3", "stranger", encoder),
            FeedbackRecord(request_id="1", at=2, tenant="t", score=0.25),
            FeedbackRecord(request_id="2", at=2, tenant="t", correct_answer="A"),
            FeedbackRecord(request_id="3", at=2, tenant="other", score=1.0),
            FeedbackRecord(request_id="9", at=2, tenant="t", score=1.0),
        ],
    )
    scored, given = read_traffic(log, encoder.encoder_id)
    assert (scored.answers["small"].correct, scored.weight) == (0.25, 2.0)
    assert {tier: answer.correct for tier, answer in given.answers.items()} == {
        "small": 0.0,
        "large": 1.0,
    }
    assert scored.vector is not None
    assert read_traffic(log, "other")[0].vector is None


def _traffic(folder: Path, encoder: TextEncoder, count: int, *, score: float) -> Path:
    records: list[Record] = []
    for place in range(count):
        records.append(_request(str(place), f"An easy one, number {place}?", encoder))
        records.append(FeedbackRecord(request_id=str(place), at=2, tenant="t", score=score))
    return _write_log(folder, records)


def test_labels_from_traffic_shift_the_parent_by_their_number(
    fitted: Path, tmp_path: Path, encoder: TextEncoder
) -> None:
    """Bad marks lower the tier's chance: a few a little, many a lot; other tiers stay."""
    parent = Artifact.load(fitted)
    example = read_tier3([_one_row(tmp_path)])[0]
    vector = encoder.encode([example.query]).vectors[0]
    chances = []
    for count in (0, 5, 300):
        child = parent
        if count:
            log = _traffic(tmp_path / f"log{count}", encoder, count, score=0.0)
            args = _args(traffic=log, parent=fitted, work=tmp_path)
            child = from_traffic(args, encoder)
            assert child.manifest["parent"] == parent.version
        ladder = ladder_of([example], parent.tiers)
        router = Router(ladder=ladder, artifact=child, config=RouterConfig())
        chances.append(router.decide(example.task(vector, 3, 0.5)).probabilities)
    small = [chance[0] for chance in chances]
    assert small[0] > small[1] > small[2]
    assert small[0] - small[1] < 0.35
    assert small[2] < 0.3
    assert len({round(chance[2], 9) for chance in chances}) == 1


def test_what_was_learnt_from_a_log_is_not_learnt_twice(
    fitted: Path, tmp_path: Path, encoder: TextEncoder
) -> None:
    """A child of the same log finds nothing there; it learns of what came since, and that alone."""
    log = _traffic(tmp_path / "log", encoder, 40, score=0.0)
    from_traffic(_args(traffic=log, parent=fitted, work=tmp_path), encoder).save(tmp_path / "child")
    again = _args(traffic=log, parent=tmp_path / "child", work=tmp_path)
    with pytest.raises(DataError, match="was said since"):
        from_traffic(again, encoder)
    later = [replace(_request(f"l{n}", f"Another, {n}?", encoder), at=9.0) for n in range(20)]
    said = [FeedbackRecord(request_id=f"l{n}", at=10, tenant="t", score=1.0) for n in range(20)]
    _write_log(tmp_path / "more", [*later, *said])
    for file in (tmp_path / "more").iterdir():
        file.rename(log / f"later-{file.name}")
    grandchild = from_traffic(again, encoder)
    told = grandchild.manifest["metrics"]["small"]["labels"]
    assert 0 < told <= 20


def test_answers_judged_as_good_as_they_are_shift_nothing(
    fitted: Path, encoder: TextEncoder
) -> None:
    """Served answers are those that looked right; their labels are held against those looks."""
    parent = Artifact.load(fitted)
    examples = [
        Example(
            query=f"Number {place}?",
            answers={
                "small": Answered(
                    text="x",
                    tokens_in=1,
                    tokens_out=1,
                    cost_usd=0.0,
                    correct=0.6,
                    confidence=0.6,
                )
            },
            artifact=parent.version,
        )
        for place in range(50)
    ]
    vectors = encoder.encode([example.query for example in examples]).vectors
    arrays, _ = shifted(parent, examples, vectors, seed=0)
    assert np.allclose(arrays["shift_bias"], parent.arrays["shift_bias"], atol=1e-6)
    strangers = [replace(example, artifact="another") for example in examples]
    moved, _ = shifted(parent, strangers, vectors, seed=0)
    assert not np.allclose(moved["shift_bias"], parent.arrays["shift_bias"], atol=1e-2)


def _one_row(folder: Path) -> Path:
    path = folder / "one.jsonl"
    told = {"text": "x", "tok_in": 20, "tok_out": 50, "cost_usd": 0.0001, "correct": 1}
    answers = dict.fromkeys(("small", "medium", "large"), told)
    path.write_text(json.dumps({"query": "An easy one, number 7?", "answers": answers}) + "\n")
    return path


def test_log_without_labels_is_refused(fitted: Path, tmp_path: Path, encoder: TextEncoder) -> None:
    """Nothing was said, so nothing is learnt, and no artifact pretends otherwise."""
    log = _write_log(tmp_path / "log", [_request("1", "q", encoder)])
    with pytest.raises(DataError, match="no feedback"):
        from_traffic(_args(traffic=log, parent=fitted, work=tmp_path), encoder)


def test_odds_far_off_are_moved_to_where_the_labels_are() -> None:
    """Rows alike, foretold to be wrong, right in six of ten: a whole step would lead astray."""
    dice = np.random.default_rng(0)
    rows = dice.normal(size=(1, 16)) / 4 + dice.normal(size=(50, 16)) / 100
    label = np.full(50, 0.6)
    offset = np.full(50, -7.0)
    term = fit_shift(rows, offset, label, np.ones(50))
    chance = 1.0 / (1.0 + np.exp(-(offset + rows @ term[:-1] + term[-1])))
    assert np.abs(chance - 0.6).max() < 0.2
