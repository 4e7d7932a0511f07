"""A bundle in, what its encoder bears under load out: `encoder bench`, second half.

Saturation: many texts handed in at once, beside as many threads that run the bare session on the
same texts, inputs at hand; in turns, so that the ratio stands whatever else the machine does.
Mixed: a burst of questions and pages, and how long the questions took of it.
Grid: texts a second by batch size and length, with the operations that the graph counts, for cards.
"""

from __future__ import annotations

import asyncio
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
import numpy.typing as npt

from sidecar.encoder.bundle import EncoderConfig, Precision
from sidecar.encoder.encoding import Encoding
from sidecar.encoder.lanes import batcher_for
from sidecar.encoder.onnx import OnnxEncoder, feed
from sidecar.encoder.threads import threads_for

Inputs = Mapping[str, npt.NDArray[np.int64]]

SENTENCE: Final = "How do I change the delivery address of an order that was already paid for?"
PAGE: Final = SENTENCE * 20
"""What fills the window."""

TEXTS: Final = 512
"""Chosen: a second of one thread's work, so that beginning and end do not show."""

ROUNDS: Final = 5

PAGES: Final = 8
QUESTIONS: Final = 56
"""Chosen: one text in eight fills the window; together they are a quarter of a second's work."""

GRID_SIZES: Final = (1, 8, 64, 512)
GRID_TEXTS: Final = {"short": SENTENCE, "middling": SENTENCE * 4, "long": PAGE}

LAYERS: Final = 6
WIDTH: Final = 384
"""Source: `num_hidden_layers` and `hidden_size` in the model's `config.json`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """One precision under load on one device.

    Attributes:
        precision: Of the weights.
        threads: That encode.
        texts_per_s: Handed in at once, questions of 8 to 24 tokens.
        bare_per_s: Of the bare session, on as many threads.
        ratio: Median over the rounds of one by the other.
        question_ms: Of a burst of questions and pages: a question's median and 99th percentile.
        page_ms: A page's.
        in_order_ms: A question's, where threads take texts as they come.
    """

    precision: Precision
    threads: int
    texts_per_s: float
    bare_per_s: float
    ratio: float
    question_ms: tuple[float, float]
    page_ms: tuple[float, float]
    in_order_ms: tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One batch size and length.

    Attributes:
        text: short, middling or long.
        tokens: Of each text.
        size: Of a batch.
        texts_per_s: Whole encode, tokenising included.
        session_per_s: The bare session's.
        tera_ops: Operations a second of the bare session, 1e12.
    """

    text: str
    tokens: int
    size: int
    texts_per_s: float
    session_per_s: float
    tera_ops: float


def operations(tokens: int) -> float:
    """Multiplications and additions to encode one text of so many tokens.

    A token's share of the weights (12 d^2 of them in a layer, two operations each), and of
    attention (4 n d in a layer). Source: the graph's own matrix products.
    """
    each = LAYERS * (24.0 * WIDTH**2 + 4.0 * tokens * WIDTH)
    return tokens * each


async def loaded(encoder: OnnxEncoder, config: EncoderConfig) -> Load:
    """What `encoder` bears."""
    count = 1 if encoder.together else threads_for(config)
    texts = [
        f"{number}: {' '.join(SENTENCE.split()[: 4 + number % 12])}?" for number in range(TEXTS)
    ]
    inputs = [feed([encoder.tokenize(text).ids]) for text in texts]
    rates: list[tuple[float, float]] = []
    for _ in range(ROUNDS):
        bare_s = _bare_s(encoder, inputs, count)
        rates.append((TEXTS / await _handed_in_s(encoder, config, texts), TEXTS / bare_s))
    question_ms, page_ms = await _mixed(encoder, config)
    return Load(
        precision=encoder.precision,
        threads=count,
        texts_per_s=statistics.median(rate for rate, _ in rates),
        bare_per_s=statistics.median(bare for _, bare in rates),
        ratio=statistics.median(rate / bare for rate, bare in rates),
        question_ms=_p50_p99(question_ms),
        page_ms=_p50_p99(page_ms),
        in_order_ms=_p50_p99(_in_order_ms(encoder, count)),
    )


async def _handed_in_s(encoder: OnnxEncoder, config: EncoderConfig, texts: Sequence[str]) -> float:
    batcher = batcher_for(encoder, config)
    batcher.start()
    try:
        await batcher.encode(texts[0], _itself)
        begun_s = time.perf_counter()
        await asyncio.gather(*(batcher.encode(text, _itself) for text in texts))
        return time.perf_counter() - begun_s
    finally:
        await batcher.close()


def _bare_s(encoder: OnnxEncoder, inputs: Sequence[Inputs], count: int) -> float:
    """How long the bare session takes for all of them, on `count` threads."""

    def some(place: int) -> None:
        for each in inputs[place::count]:
            encoder.bare_run(each)

    begun_s = time.perf_counter()
    _at_once([partial(some, place) for place in range(count)])
    return time.perf_counter() - begun_s


async def _mixed(encoder: OnnxEncoder, config: EncoderConfig) -> tuple[list[float], list[float]]:
    """How long each question and each page of a burst took."""
    batcher = batcher_for(encoder, config)
    batcher.start()

    async def took_ms(text: str) -> float:
        begun_s = time.perf_counter()
        await batcher.encode(text, _itself)
        return 1e3 * (time.perf_counter() - begun_s)

    try:
        await took_ms(SENTENCE)
        told = await asyncio.gather(*(took_ms(text) for text in _burst()))
    finally:
        await batcher.close()
    is_page = [text is PAGE for text in _burst()]
    questions = [ms for ms, page in zip(told, is_page, strict=True) if not page]
    return questions, [ms for ms, page in zip(told, is_page, strict=True) if page]


def _burst() -> list[str]:
    """Questions, and pages strewn among them."""
    each = [PAGE, *[SENTENCE] * (QUESTIONS // PAGES)]
    return each * PAGES


def _in_order_ms(encoder: OnnxEncoder, count: int) -> list[float]:
    """When each question of the burst was done on `count` threads that take them as they come."""
    waiting, done, begun_s = iter(_burst()), list[float](), time.perf_counter()

    def some() -> None:
        for text in waiting:
            encoder.encode([text])
            if text is not PAGE:
                done.append(1e3 * (time.perf_counter() - begun_s))

    _at_once([some] * count)
    return done


def _at_once(works: Sequence[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _itself(encoding: Encoding) -> Encoding:
    return encoding


def _p50_p99(values: Sequence[float]) -> tuple[float, float]:
    low, high = np.percentile(values, [50, 99])
    return float(low), float(high)


def grid(encoder: OnnxEncoder) -> list[Cell]:
    """Each length at each batch size, medians of `ROUNDS`."""
    return [_cell(encoder, name, size) for name in GRID_TEXTS for size in GRID_SIZES]


def _cell(encoder: OnnxEncoder, name: str, size: int) -> Cell:
    tokens = [encoder.tokenize(GRID_TEXTS[name])] * size
    inputs = feed([each.ids for each in tokens])
    encoder.bare_run(inputs)
    whole, bare = [], []
    for _ in range(ROUNDS):
        begun_s = time.perf_counter()
        encoder.encode([GRID_TEXTS[name]] * size)
        between_s = time.perf_counter()
        encoder.bare_run(inputs)
        whole.append(between_s - begun_s)
        bare.append(time.perf_counter() - between_s)
    each_s, count = statistics.median(bare) / size, len(tokens[0].ids)
    return Cell(
        text=name,
        tokens=count,
        size=size,
        texts_per_s=size / statistics.median(whole),
        session_per_s=1.0 / each_s,
        tera_ops=operations(count) / each_s / 1e12,
    )


def load_table(loads: Sequence[Load]) -> Iterator[str]:
    """The loads as lines of Markdown."""
    yield (
        "| precision | threads | texts a second | bare session | ratio "
        "| burst: a question p50 / p99 ms | in order | a page p50 / p99 ms |"
    )
    yield "|---|---:|---:|---:|---:|---:|---:|---:|"
    for row in loads:
        question, in_order, page = (
            f"{low:.0f} / {high:.0f}"
            for low, high in (row.question_ms, row.in_order_ms, row.page_ms)
        )
        yield (
            f"| {row.precision} | {row.threads} | {row.texts_per_s:.0f} | {row.bare_per_s:.0f} "
            f"| {row.ratio:.2f} | {question} | {in_order} | {page} |"
        )


def grid_table(cells: Sequence[Cell], peak_tera_ops: float) -> Iterator[str]:
    """The grid as lines of Markdown; `peak_tera_ops` is the card's own limit, 0 if not told."""
    heads = (
        "text",
        "tokens",
        "batch",
        "texts a second",
        "bare session",
        "1e12 ops a s",
        "of limit",
    )
    yield "| " + " | ".join(heads) + " |"
    yield "|---|---:|---:|---:|---:|---:|---:|"
    for row in cells:
        share = f"{row.tera_ops / peak_tera_ops:.3f}" if peak_tera_ops else "not told"
        yield (
            f"| {row.text} | {row.tokens} | {row.size} | {row.texts_per_s:.0f} "
            f"| {row.session_per_s:.0f} | {row.tera_ops:.2f} | {share} |"
        )
