"""The served models in, what each step of the second look takes out, in milliseconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from cache.facets import facets
from cache.guard import compare
from sidecar.encoder.onnx import OnnxEncoder
from train.stages import Models

ROUNDS: Final = 300
"""Chosen: enough for a 99th percentile to mean something."""


def latencies(
    models: Models, encoder: OnnxEncoder, texts: Sequence[str]
) -> dict[str, dict[str, float]]:
    """p50 and p99 of each step, over neighbouring questions of `texts`."""
    some = texts[: ROUNDS + 1]
    parts = [facets(text) for text in some]
    cheap, verifier = models.cheap, models.verifier
    steps: dict[str, Callable[[int], Any]] = {
        "encode one question": lambda at: encoder.encode([some[at]]),
        "facets of one question": lambda at: facets(some[at]),
        "compare one pair": lambda at: compare(parts[at], parts[at + 1]),
        "risk of one pair": lambda at: cheap.risk(0.9, compare(parts[at], parts[at + 1])),
    }
    if verifier is not None:
        steps["verdict on one pair"] = lambda at: verifier.verdict(some[at], some[at + 1])
    return {name: _timed(step, len(some) - 1) for name, step in steps.items()}


def _timed(step: Callable[[int], Any], rounds: int) -> dict[str, float]:
    took_ms = []
    for at in range(rounds):
        begun_s = time.perf_counter()
        step(at)
        took_ms.append((time.perf_counter() - begun_s) * 1e3)
    p50, p99 = np.quantile(took_ms, (0.5, 0.99))
    return {"p50": round(float(p50), 4), "p99": round(float(p99), 4)}
