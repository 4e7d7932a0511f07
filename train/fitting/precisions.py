"""An artifact and other precisions of its encoder in, those whose vectors it decides alike on out.

An artifact is fitted on the vectors of one precision. Another's differ in the third digit, and
whether that matters is measured: the artifact's own decisions on vectors of both are compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from router.artifact import Artifact
from router.decision import Task
from router.policy import Router, RouterConfig
from router.quality import QUALITY
from train.samples.examples import Example
from train.samples.vectors import TextEncoder, Vectors, vectors_of
from train.scoring.replay import ladder_of

SAMPLE: Final = 400
"""Chosen: rows compared, evenly drawn; tells a mean difference of chances to within .002."""
MOST_APART: Final = 0.02
"""Chosen: the heads' own expected calibration error; vectors that move chances less lose nothing
that could be told."""


def admitted(
    artifact: Artifact,
    examples: Sequence[Example],
    vectors: Vectors,
    others: Mapping[str, TextEncoder],
    work: Path,
) -> Artifact:
    """The artifact, its manifest naming each of `others` on which it decides alike.

    `vectors` are those that it was fitted on; `others` are named by precision.
    """
    step = max(1, len(examples) // SAMPLE)
    some = list(examples[::step])
    own = _decided(artifact, some, vectors[::step])
    told: dict[str, Any] = {}
    known = list(artifact.manifest["encoder_ids"])
    for precision, encoder in others.items():
        bare = [replace(example, vector=None) for example in some]
        entry, chances = _decided(artifact, some, vectors_of(bare, encoder, work))
        apart = float(np.abs(chances - own[1]).mean())
        told[precision] = {"chances_apart": apart, "same_entry": float(np.mean(entry == own[0]))}
        if apart <= MOST_APART and encoder.encoder_id not in known:
            known.append(encoder.encoder_id)
    manifest = {**artifact.manifest, "encoder_ids": known, "precisions": told}
    return replace(artifact, manifest=manifest)


def _decided(
    artifact: Artifact, examples: Sequence[Example], vectors: Vectors
) -> tuple[Any, np.ndarray[Any, Any]]:
    """(n,) entry tiers at `balanced` and (n, tiers) chances."""
    ladder = ladder_of(examples, artifact.tiers)
    router = Router(ladder=ladder, artifact=artifact, config=RouterConfig())
    tasks: list[Task] = [
        example.task(vector, len(ladder), QUALITY["balanced"])
        for example, vector in zip(examples, vectors, strict=True)
    ]
    found = [router.decide(task) for task in tasks]
    return np.array([d.entry for d in found]), np.array([d.probabilities for d in found])
