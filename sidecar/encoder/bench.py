"""A bundle in, what its precisions cost and how near they come to fp32 out.

Timings are medians of runs that alternate, bare session, whole encode and trip through the
batcher in turn, so that a busy neighbour slows all three: read their ratios.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, cast

import numpy as np

from sidecar.encoder.batcher import Batcher
from sidecar.encoder.bundle import PRECISIONS, Bundle, EncoderConfig, Precision
from sidecar.encoder.loadbench import Cell, Load, grid, grid_table, load_table, loaded
from sidecar.encoder.onnx import OnnxEncoder, feed
from sidecar.encoder.probe import Probe

ROUNDS: Final = 100
"""Chosen: the median of a hundred moves by a few percent between runs on a shared machine."""

WARM_UP: Final = 5
"""Chosen: the first few runs of a shape still reserve memory."""

SENTENCE: Final = "How do I change the delivery address of an order that was already paid for?"
LENGTHS: Final = {"short": SENTENCE, "middling": SENTENCE * 4, "long": SENTENCE * 20}
"""About 17, 65 and 256 tokens: a question, a paragraph, and what fills the window."""

BATCHES: Final = (1, 4, 16, 64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """One text's way at idle, in milliseconds: medians over `ROUNDS`.

    Attributes:
        text: short, middling or long.
        tokens: Of it.
        session_ms: The bare ONNX run, its inputs at hand.
        encode_ms: Tokenising and running.
        batcher_ms: The same from an event loop through the batcher and back.
    """

    text: str
    tokens: int
    session_ms: float
    encode_ms: float
    batcher_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One precision on one device.

    Attributes:
        load: What it bears.
        grid: By batch size and length; empty on a CPU.
        latency: At idle.
        texts_per_s: By batch size, questions of 8 to 24 tokens.
        cosine_min: Least cosine to fp32 on the CPU, over the bench's and the probe's texts.
        cosine_mean: Mean of the same.
        company_cosine_min: Least cosine between a text's vector alone and in a padded batch of 16,
            the session run bare: why int8 does not run texts together.
    """

    precision: Precision
    device: str
    latency: Sequence[Latency]
    texts_per_s: dict[int, float]
    cosine_min: float
    cosine_mean: float
    company_cosine_min: float
    load: Load
    grid: Sequence[Cell]


async def measure(bundle: str, device: str, precision: str, threads: int = 1) -> list[Figures]:
    """Figures of `precision`, or of each that is in the bundle and runs on `device`.

    Raises:
        EncoderError: No bundle, or the device is not there.
        ValueError: `device` or `precision` is none that exists.
    """
    exact = OnnxEncoder.load(EncoderConfig(bundle=bundle, device="cpu", precision="fp32"))
    texts = [*Probe.read().texts, *questions(64)]
    expected = exact.encode(texts).vectors  # (n, dim)
    figures = []
    for each in _configs(bundle, device, precision):
        config = replace(each, threads=threads)
        encoder = OnnxEncoder.load(config)
        cosines = np.sum(encoder.encode(texts).vectors * expected, axis=1)  # (n,)
        figures.append(
            Figures(
                precision=encoder.precision,
                device=encoder.device,
                latency=[await _latency(encoder, config, name) for name in LENGTHS],
                texts_per_s={size: _throughput(encoder, size) for size in BATCHES},
                cosine_min=float(cosines.min()),
                cosine_mean=float(cosines.mean()),
                company_cosine_min=_in_company(encoder),
                load=await loaded(encoder, config),
                grid=[] if encoder.device == "cpu" else grid(encoder),
            )
        )
    return figures


def table(figures: Sequence[Figures], peak_tera_ops: float = 0.0) -> Iterator[str]:
    """The figures as lines of Markdown."""
    yield "| precision | device | text | tokens | session ms | encode ms | batcher ms | ratio |"
    yield "|---|---|---|---:|---:|---:|---:|---:|"
    for row in figures:
        for at in row.latency:
            yield (
                f"| {row.precision} | {row.device} | {at.text} | {at.tokens} | {at.session_ms:.2f} "
                f"| {at.encode_ms:.2f} | {at.batcher_ms:.2f} "
                f"| {at.batcher_ms / at.session_ms:.2f} |"
            )
    yield ""
    sizes = " | ".join(f"{size} at once" for size in BATCHES)
    yield f"| precision, texts a second | {sizes} | cosine to fp32, min | mean | in company, min |"
    yield "|---|" + "---:|" * (len(BATCHES) + 3)
    for row in figures:
        rates = " | ".join(f"{row.texts_per_s[size]:.0f}" for size in BATCHES)
        yield (
            f"| {row.precision} | {rates} | {row.cosine_min:.4f} | {row.cosine_mean:.4f} "
            f"| {row.company_cosine_min:.4f} |"
        )
    yield ""
    yield from load_table([row.load for row in figures])
    for row in figures:
        if row.grid:
            yield ""
            yield from grid_table(row.grid, peak_tera_ops)


def questions(count: int) -> list[str]:
    """`count` unlike questions of unlike length."""
    words = SENTENCE.split()
    return [f"{number}: {' '.join(words[: 4 + number % 12])}?" for number in range(count)]


def _configs(bundle: str, device: str, precision: str) -> Iterator[EncoderConfig]:
    """One config for each precision that is asked for and there."""
    there = Bundle.open(EncoderConfig(bundle=bundle).folder)
    for each in (precision,) if precision else PRECISIONS:
        if device in ("cuda", "tensorrt") and each == "int8" and not precision:
            continue  # int8 runs on the CPU only
        if precision or there.has(cast(Precision, each)):
            yield EncoderConfig(bundle=bundle, device=cast(Any, device), precision=cast(Any, each))


async def _latency(encoder: OnnxEncoder, config: EncoderConfig, name: str) -> Latency:
    """The three ways in turn, on one text."""
    text = LENGTHS[name]
    tokens = encoder.tokenize(text)
    inputs = feed([tokens.ids])
    batcher = Batcher(encoder, config)
    batcher.start()
    try:
        times: list[tuple[float, float, float]] = []
        for _ in range(WARM_UP + ROUNDS):
            session_ms = _took_ms(lambda: encoder.bare_run(inputs))
            encode_ms = _took_ms(lambda: encoder.encode([text]))
            begun_s = time.perf_counter()
            await batcher.encode(text, lambda encoding: encoding)
            times.append((session_ms, encode_ms, 1e3 * (time.perf_counter() - begun_s)))
    finally:
        await batcher.close()
    session, encode, trip = (statistics.median(way) for way in zip(*times[WARM_UP:], strict=True))
    return Latency(
        text=name,
        tokens=len(tokens.ids),
        session_ms=session,
        encode_ms=encode,
        batcher_ms=trip,
    )


def _throughput(encoder: OnnxEncoder, size: int) -> float:
    """Texts a second, `size` handed in at once."""
    texts = questions(max(BATCHES))
    took_ms = statistics.median(
        sum(
            _took_ms(lambda start=start: encoder.encode(texts[start : start + size]))  # type: ignore[misc]
            for start in range(0, len(texts), size)
        )
        for _ in range(5)
    )
    return 1e3 * len(texts) / took_ms


def _in_company(encoder: OnnxEncoder) -> float:
    """See `Figures.company_cosine_min`."""
    ids = [encoder.tokenize(text).ids for text in questions(16)]
    together = encoder.bare_run(feed(ids))  # (16, dim)
    alone = np.concatenate([encoder.bare_run(feed([each])) for each in ids])  # (16, dim)
    lengths = np.linalg.norm(together, axis=1) * np.linalg.norm(alone, axis=1)  # (16,)
    return float((np.sum(together * alone, axis=1) / lengths).min())


def _took_ms(work: Callable[[], object]) -> float:
    begun_s = time.perf_counter()
    work()
    return 1e3 * (time.perf_counter() - begun_s)
