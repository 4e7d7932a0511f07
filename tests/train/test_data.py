"""The default artifact on real answers of real models, where the measuring data lies at hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from router.artifact import DEFAULT, Artifact
from router.policy import Router, RouterConfig
from sidecar.errors import EncoderError
from train.samples.tier3 import read_tier3
from train.samples.vectors import load_encoder, vectors_of
from train.scoring.replay import ladder_of, replay, tiers_of

DATA = Path(__file__).parents[3] / "shared/data/router/tier3_calib.jsonl.gz"


@pytest.mark.data
def test_default_artifact_beats_the_random_mix(tmp_path: Path) -> None:
    """At balanced it is better than mixing medium and large at random for the same money.

    These rows were among those it was fitted on: this tells a broken artifact, and no quality.
    """
    if not DATA.exists():
        pytest.skip(f"the measuring data is not at {DATA}")
    try:
        encoder = load_encoder()
    except EncoderError as fault:
        pytest.skip(f"no encoder: {fault}")
    examples = read_tier3([DATA])[::8]
    artifact, tiers = Artifact.load(DEFAULT), tiers_of(examples)
    artifact.check_encoder(encoder.encoder_id)
    ladder = ladder_of(examples, tiers)
    router = Router(ladder=ladder, artifact=artifact, config=RouterConfig())
    found = replay(router, ladder, examples, vectors_of(examples, encoder, tmp_path), 0.8)
    quality = {t: np.mean([e.answers[t].correct or 0 for e in examples]) for t in tiers}
    cost = {t: np.mean([e.answers[t].cost_usd for e in examples]) for t in tiers}
    share = (found.cost_usd.mean() - cost["medium"]) / (cost["large"] - cost["medium"])
    mixed = quality["medium"] + share * (quality["large"] - quality["medium"])
    assert 0 < share < 1
    assert found.correct.mean() > mixed
