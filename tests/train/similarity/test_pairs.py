"""The split: nothing of the scoreboard is learnt from, and what is kept apart is whole."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sidecar.encoder.encoding import Encodings
from tests.train.judged_rows import write as packed
from train.errors import DataError
from train.samples.rows import read_rows
from train.similarity.judged import EQUIVALENCE, JUDGED, OWN, digest
from train.similarity.pairs import GROUPS, Pair, is_held, plain, scoreboard, split
from train.similarity.verifier import gathered, write_held

DATA = Path("../shared/data/cache")


class HashEncoder:
    """Vectors that depend on the text's length alone."""

    def encode(self, texts: Sequence[str]) -> Encodings:
        vectors = np.array([[1.0, len(text) / 100] for text in texts], np.float32)
        sizes = tuple(map(len, texts))
        return Encodings(vectors=vectors, tokens=sizes, truncated=(False,) * len(texts))


def write(folder: Path, name: str, rows: Iterable[dict[str, Any]]) -> None:
    packed(folder, f"{name}.jsonl.gz", rows)


def pair(one: str, other: str, label: int = 1, **more: object) -> dict[str, Any]:
    return {"text_a": one, "text_b": other, "label": label, **more}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A few rows of each file; `Taken?` stands on the scoreboard and everywhere else too."""
    for name in EQUIVALENCE:
        taken = {"cached": "Taken?", "query": "taken too", "label": 1, "cosine": 0.9}
        write(tmp_path, name, [taken])
    groups = [
        {
            "id": f"g{n}",
            "base": f"how do i do {n}",
            "same": [f"what is the way to do {n}", "TAKEN"],
            "near": [{"text": f"how do i undo {n}", "trap": "polarity"}],
        }
        for n in range(20)
    ]
    write(tmp_path, "written_groups", groups)
    write(tmp_path, "paws_dev", [pair(f"a {n} b", f"b {n} a", 0, id=n) for n in range(20)])
    tests = ("Different animals", "another")
    rows = [
        pair(f"{t} {n}", f"{t} not {n}", 0, test=t, capability="x") for t in tests for n in (1, 2)
    ]
    write(tmp_path, "checklist_pairs", rows)
    write(tmp_path, "traps_banking", [pair("is it free", "taken", 0, category="x")])
    intents: list[dict[str, Any]] = [
        {"text": "when comes my pin", "intents": ["when", "pin", "arrival"]},
        {"text": "pin arrival time", "intents": ["when", "pin", "arrival"]},
        {"text": "when comes my card", "intents": ["when", "card", "arrival"]},
        {"text": "pay 5 pounds", "intents": ["pay"], "slots": {"amount": {"text": "5"}}},
        {"text": "pay 9 pounds", "intents": ["pay"], "slots": {"amount": {"text": "9"}}},
    ]
    write(tmp_path, "nlupp_banking", intents)
    quora = [pair("who is she", "who is this she"), pair("Taken ?", "free"), pair("A b?", "a b", 0)]
    write(tmp_path, "qqp_pairs", quora)
    banking = [
        {"text": text, "intent": intent, "split": "train"}
        for text, intent in (("lost card", "lost"), ("my lost card", "lost"), ("top up", "top"))
    ]
    write(tmp_path, "banking77", banking)
    own = {"file": "judged_quora", "cosine": 0.9, "label": 1}
    judged = [
        {"use": "learn", "cached": digest("who is she"), "query": digest("free"), **own},
        {"use": "calibrate", "cached": digest("A b?"), "query": digest("a b"), **own},
    ]
    packed(tmp_path / "own", JUDGED, judged)
    packed(tmp_path / "own", GROUPS, [{**groups[0], "id": "own", "base": "our own"}])
    return tmp_path


def learnt(folder: Path, source: str, *, with_quora: bool = True) -> list[Pair]:
    rows = split(folder, with_quora=with_quora, seed=0, own=folder / "own").learnt
    return [pair for pair in rows if pair.source == source]


def assert_clean(folder: Path, own: Path, *, with_quora: bool) -> None:
    rows = gathered(folder, HashEncoder(), with_quora=with_quora, seed=0, own=own)
    forbidden = scoreboard(folder, own)
    learnt = {plain(text) for p in rows.learnt for text in (p.one, p.other)}
    held = {plain(text) for p in rows.held for text in (p.one, p.other)}
    assert not learnt & forbidden
    assert not held & forbidden
    assert not learnt & held
    groups = {p.group for p in rows.learnt if p.source == "written"}
    assert groups.isdisjoint(p.group for p in rows.held)


def test_the_scoreboard_and_what_is_kept_apart_are_never_learnt(folder: Path) -> None:
    """In whatever spelling."""
    assert_clean(folder, folder / "own", with_quora=True)


def test_groups_and_tests_are_kept_apart_whole(folder: Path) -> None:
    """A fifth of the groups, and the tests that are named."""
    rows = split(folder, with_quora=False, seed=0, own=folder / "own")
    groups = {p.group for p in rows.held if p.source == "written"}
    assert groups == {f"g{n}" for n in range(20) if is_held(f"g{n}")}
    assert {p.group for p in rows.held if p.source == "checklist"} == {"Different animals"}


def test_the_groups_kept_apart_can_be_had_by_themselves(folder: Path) -> None:
    """For a stream of questions that no verifier has learnt from."""
    count = write_held(folder, folder / "held.jsonl.gz", folder / "own")
    assert {row["id"] for row in read_rows(folder / "held.jsonl.gz")} == {
        name for name in (*(f"g{n}" for n in range(20)), "own") if is_held(name)
    }
    assert count > 1


def test_quora_is_read_only_where_it_is_asked_for(folder: Path) -> None:
    """And the same words labelled unlike are no rows."""
    for source in ("quora", "judged"):
        assert not learnt(folder, source, with_quora=False)
    assert [pair.one for pair in learnt(folder, "quora")] == ["who is she"]


def test_a_judged_pair_stays_the_way_round_that_was_judged(folder: Path) -> None:
    """And one that calibrates is not learnt from."""
    rows = learnt(folder, "judged")
    assert [(pair.one, pair.other, pair.is_directed) for pair in rows] == [
        ("who is she", "free", True)
    ]


def test_intents_and_slots_tell_what_serves(folder: Path) -> None:
    """The same three intents do; another intent, or another's value in the slot, does not."""
    rows = learnt(folder, "nlupp", with_quora=False)
    assert {p.kind for p in rows if p.is_same} == {"same intents"}
    assert {p.kind for p in rows if not p.is_same} <= {"other intents", "other slot"}
    assert [p.other for p in rows if p.is_same] == ["pin arrival time"]


def test_missing_data_is_said(tmp_path: Path) -> None:
    """With the file's name."""
    with pytest.raises(DataError, match="equivalence_qqp"):
        split(tmp_path, with_quora=False, seed=0)


@pytest.mark.data
@pytest.mark.skipif(not DATA.exists(), reason="the measuring data is not beside the checkout")
def test_the_real_files_are_split_cleanly() -> None:
    """With Quora's pairs, of which the scoreboard's questions come."""
    assert_clean(DATA, OWN, with_quora=True)
