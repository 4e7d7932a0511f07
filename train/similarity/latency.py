"""The served models in, what each step of the second look takes out, in milliseconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, Final

import numpy as np

from cache.entry import Entry, Vector
from cache.facets import facets
from cache.guard import compare
from cache.look import SecondLook
from cache.policy import SemanticConfig
from cache.semantic import SemanticCache
from sidecar.encoder.onnx import OnnxEncoder
from train.similarity.judged import Row
from train.similarity.stages import Models

ROUNDS: Final = 300
"""Chosen: enough for a 99th percentile to mean something."""

BOUND: Final = 0.05
"""Chosen: one that both models can hold, so that both look twice."""

_PARTITION: Final = b"p" * 20


def latencies(
    models: Models, encoder: OnnxEncoder, rows: Sequence[Row]
) -> dict[str, dict[str, float]]:
    """p50 and p99 of each step, over pairs of `rows`; a look-up has five candidates."""
    some = rows[:: max(1, len(rows) // ROUNDS)][:ROUNDS]
    kept = encoder.encode([row.cached for row in some]).vectors
    asked = encoder.encode([row.query for row in some]).vectors
    parts = [(facets(row.cached), facets(row.query)) for row in some]
    cheap, verifier = models.cheap, models.verifier
    steps: dict[str, Callable[[int], Any]] = {
        "encode one question": lambda at: encoder.encode([some[at].query]),
        "facets of one question": lambda at: facets(some[at].query),
        "compare one pair": lambda at: compare(*parts[at]),
        "risk of one pair": lambda at: cheap.risk(0.9, compare(*parts[at])),
    }
    looks = {"look-up without the verifier": SecondLook(cheap, BOUND)}
    if verifier is not None:
        steps["verdict on one pair"] = lambda at: verifier.verdict(some[at].cached, some[at].query)
        looks["look-up with the verifier"] = SecondLook(cheap, BOUND, models.verified, verifier)
    for name, look in looks.items():
        steps[name] = _look_up(look, some, kept, asked)
    return {name: _timed(step, len(some)) for name, step in steps.items()}


def _look_up(
    look: SecondLook, rows: Sequence[Row], kept: Vector, asked: Vector
) -> Callable[[int], Any]:
    cache = SemanticCache(encoder_id="", look=look, config=SemanticConfig())
    for place, row in enumerate(rows):
        cache.add(_entry(place + 1, row.cached, kept[place]))
    return lambda at: cache.judge(_PARTITION, rows[at].query, asked[at], now_at=0.0)


def _entry(entry_id: int, question: str, vector: Vector) -> Entry:
    return Entry(
        entry_id=entry_id,
        fingerprint=entry_id.to_bytes(20, "big"),
        partition=_PARTITION,
        question=question,
        vector=vector,
        body=b"{}",
        tier="small",
        model="",
        tokens_in=0,
        tokens_out=0,
        cost_usd=Decimal(0),
        created_at=0.0,
        expires_at=1.0,
    )


def _timed(step: Callable[[int], Any], rounds: int) -> dict[str, float]:
    took_ms = []
    for at in range(rounds):
        begun_s = time.perf_counter()
        step(at)
        took_ms.append((time.perf_counter() - begun_s) * 1e3)
    p50, p99 = np.quantile(took_ms, (0.5, 0.99))
    return {"p50": round(float(p50), 4), "p99": round(float(p99), 4)}
