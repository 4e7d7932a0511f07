"""Learning anew from rows with gaps: as good as from whole ones, and only where it is better."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from router.artifact import Artifact
from router.policy import Router, RouterConfig
from train.errors import DataError
from train.fitting.fit import with_table
from train.fitting.known import known_arrays
from train.fitting.learn import learn, rowset
from train.fitting.relearn import find_refit, merged
from train.fitting.trees import DEFAULT, TreesConfig
from train.samples.examples import Answered, Example
from train.samples.tier3 import read_tier3
from train.samples.vectors import TextEncoder, Vectors, vectors_of
from train.scoring.metrics import Point, area
from train.scoring.replay import ladder_of, replay, tiers_of

QUICK = TreesConfig(trees=6, depth=2, rate=0.4)
TIERS = ("small", "large")
PLACES = (0, 1)


@pytest.fixture(scope="module")
def rows(
    tier3_file: Path, session_encoder: TextEncoder, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[Example], Vectors]:
    examples = [
        replace(example, answers={tier: example.answers[tier] for tier in TIERS})
        for example in read_tier3([tier3_file])
    ]
    return examples, vectors_of(examples, session_encoder, tmp_path_factory.mktemp("work"))


HEAD: dict[str, Any] = {
    "encoder_ids": ["fake-encoder"],
    "data": {},
    "parent": None,
    "tiers": list(TIERS),
    "dim": 16,
}


@pytest.fixture(scope="module")
def poor(rows: tuple[list[Example], Vectors]) -> Artifact:
    """Of labels turned round: no odds that are moved mend it."""
    examples, vectors = rows
    return _artifact(_inverted(examples[:300]), vectors[:300])


def _artifact(examples: list[Example], vectors: Vectors, config: TreesConfig = QUICK) -> Artifact:
    arrays, crossed = learn(rowset(examples, vectors, TIERS), 0, config)
    arrays |= known_arrays(vectors, crossed.right[()], crossed.gain[()], 0)
    return with_table(HEAD, arrays, crossed, examples, ladder=ladder_of(examples, TIERS))


def _inverted(examples: list[Example]) -> list[Example]:
    """Each with every label turned round: what is learnt of them is wrong throughout."""
    return [
        replace(
            example,
            answers={
                tier: replace(told, correct=1.0 - (told.correct or 0.0))
                for tier, told in example.answers.items()
            },
        )
        for example in examples
    ]


def _with_gaps(examples: list[Example], share: float) -> list[Example]:
    """As a log has it: of some both tiers, the large one in shadow; of the others the small one."""
    dice = np.random.default_rng(5)
    return [
        replace(
            example,
            answers={
                tier: replace(told, share=1.0 if tier == "small" else share)
                for tier, told in example.answers.items()
                if is_whole or tier == "small"
            },
        )
        for example, is_whole in zip(examples, dice.random(len(examples)) < share, strict=True)
    ]


def _area(artifact: Artifact, examples: list[Example], vectors: Vectors) -> float:
    ladder = ladder_of(examples, tiers_of(examples))
    router = Router(ladder=ladder, artifact=artifact, config=RouterConfig())
    runs = [replay(router, ladder, examples, vectors, q) for q in np.linspace(0, 1, 9)]
    points = [Point(float(run.cost_usd.mean()), float(run.correct.mean())) for run in runs]
    told = [[e.answers[tier] for tier in TIERS] for e in examples]
    ends = [
        Point(
            float(np.mean([row[place].cost_usd for row in told])),
            float(np.mean([row[place].correct or 0.0 for row in told])),
        )
        for place in PLACES
    ]
    return area(points, *ends)


def test_a_poor_parents_heads_are_grown_anew(
    rows: tuple[list[Example], Vectors], poor: Artifact
) -> None:
    """From a log of which 7 in 10 rows are whole; on rows apart it does better than its parent."""
    examples, vectors = rows
    seen, apart = slice(0, 300), slice(300, 400)
    log = _with_gaps(examples[seen], 0.7)
    refit = find_refit(poor, HEAD, log, vectors[seen], 0, with_table, QUICK)
    assert refit is not None
    told = refit.manifest["refit"]
    assert told["area"]["refit"] > told["area"]["shift"]
    assert told["labels"][0] == 300
    assert told["whole_rows"] == told["labels"][1] < 300
    before, after = (_area(each, examples[apart], vectors[apart]) for each in (poor, refit))
    assert after > before + 0.02


def test_a_good_parent_is_kept(rows: tuple[list[Example], Vectors]) -> None:
    """What was learnt from more rows than the log has is not thrown away for the log's."""
    examples, vectors = rows
    # Of these very rows, and with all the trees: nothing learnt apart from them can be better.
    parent = _artifact(examples, vectors, DEFAULT)
    log = _with_gaps(examples[:300], 0.7)
    assert find_refit(parent, HEAD, log, vectors[:300], 0, with_table, QUICK) is None


def test_a_parent_is_not_held_against_what_it_learnt_from(
    rows: tuple[list[Example], Vectors],
) -> None:
    """The world turned round since: what it has seen would speak for it.

    Where so few rows came since that nothing can be told, it is kept.
    """
    examples, vectors = rows
    parent = _artifact(examples[:250], vectors[:250], DEFAULT)
    parent = replace(parent, manifest={**parent.manifest, "until": 10.0})
    seen = [replace(example, at=5.0) for example in examples[:250]]
    since = [replace(example, at=20.0) for example in _inverted(examples[250:])]
    few = slice(0, 250 + 99)
    log = [*seen, *since]
    refit = find_refit(parent, HEAD, log, vectors, 0, with_table, QUICK)
    assert refit is not None
    assert refit.manifest["refit"]["asked"] == 150
    assert find_refit(parent, HEAD, log[few], vectors[few], 0, with_table, QUICK) is None
    blind = replace(parent, manifest={**parent.manifest, "until": 0.0})
    flattered = find_refit(blind, HEAD, log, vectors, 0, with_table, QUICK)
    assert flattered is not None
    areas = [each.manifest["refit"]["area"]["shift"] for each in (refit, flattered)]
    assert areas[1] > areas[0] + 0.02


def test_a_refit_grows_with_its_log(rows: tuple[list[Example], Vectors]) -> None:
    """Of all that it grew from, and a little more, it is grown anew: the gate has the word.

    Where the log no longer holds all of that, it has to be bettered on what came since.
    """
    examples, vectors = rows
    parent = _artifact(examples[:300], vectors[:300], DEFAULT)
    grown = {"until": 10.0, "refit": {"whole_rows": 300}}
    parent = replace(parent, manifest={**parent.manifest, **grown})
    log = [replace(each, at=5.0 if row < 300 else 20.0) for row, each in enumerate(examples[:320])]
    refit = find_refit(parent, HEAD, log, vectors[:320], 0, with_table, QUICK)
    assert refit is not None
    assert refit.manifest["refit"]["asked"] == 20
    assert "area" not in refit.manifest["refit"]
    assert find_refit(parent, HEAD, log[1:], vectors[1:320], 0, with_table, QUICK) is None


def test_too_few_whole_rows_tell_nothing_of_sets(
    rows: tuple[list[Example], Vectors], poor: Artifact
) -> None:
    """Then the parent's heads stay, whatever they are worth."""
    examples, vectors = rows
    log = _with_gaps(examples, 0.2)
    assert find_refit(poor, HEAD, log, vectors, 0, with_table, QUICK) is None
    with pytest.raises(DataError, match="80 rows tell of tier 1"):
        learn(rowset(log, vectors, TIERS), 0, QUICK)


def test_a_question_stands_in_one_fold_alone() -> None:
    """Asked twice it is one row, with every tier's answer, of two the labelled one."""

    def told(text: str, correct: float | None) -> Answered:
        return Answered(text=text, tokens_in=1, tokens_out=1, cost_usd=0.0, correct=correct)

    first = Example(query="q", answers={"small": told("a", 1.0), "large": told("b", None)}, at=1.0)
    second = replace(first, answers={"small": told("c", None), "large": told("d", 0.0)}, at=2.0)
    other = Example(query="other", answers={"small": told("e", 1.0)})
    examples, vectors = merged([first, other, second], np.eye(3, dtype=np.float32))
    assert [example.query for example in examples] == ["other", "q"]
    assert {tier: told.text for tier, told in examples[1].answers.items()} == {
        "small": "a",
        "large": "d",
    }
    assert examples[1].at == 1.0, "the parent may have learnt from it then"
    assert np.array_equal(vectors, np.eye(3)[[1, 2]])
