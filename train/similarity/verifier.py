"""Labelled and generated pairs in, the cache's pair verifier out: a small cross-encoder in int8.

Then what it is good for: the rows that were kept apart by source, by trap and by capability. What
its verdicts change in the cache is told by `python -m train cache --evaluate`.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from sklearn.metrics import roc_auc_score

from sidecar.encoder.bundle import TOKENIZER, EncoderConfig
from sidecar.encoder.graph import sign, to_int8
from sidecar.encoder.onnx import OnnxEncoder
from sidecar.encoder.pairs import MAX_TOKENS
from sidecar.encoder.tokenizer import Tokenizer
from sidecar.encoder.verifier import MADE_FOR, WEIGHTS, OnnxVerifier, digest
from train.samples.rows import read_rows
from train.similarity.judged import OWN
from train.similarity.lookalikes import generate
from train.similarity.pairs import GROUPS, Pair, Split, is_held, plain, scoreboard, split
from train.similarity.vectorhead import Encoder, Judge, VectorHead

HELP: Final = "train the cache's pair verifier from labelled and generated pairs"

HEAD: Final = "head.npy"

QUORA_ROWS: Final = 30_000
"""Chosen: about half as many as of all others."""

SEED_QUESTIONS: Final = 4000
"""Chosen: of each source, at most so many questions get look-alikes."""

SURELY_SAME: Final = 0.86
"""Chosen: of two questions of one intent that lie so near, nine in ten are served by one answer."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own flags."""
    parser.add_argument("--data", type=Path, default=Path("../shared/data/cache"))
    parser.add_argument("--out", type=Path, default=Path(".sidecar/verifier"), help="its folder")
    parser.add_argument("--layers", type=int, default=6, help="of MiniLM's six (%(default)s)")
    parser.add_argument("--steps", type=int, default=4000, help="of 32 pairs (%(default)s)")
    parser.add_argument("--rate", type=float, default=1.5e-4, help="AdamW's highest (%(default)s)")
    parser.add_argument("--start", type=Path, help="folder of a run whose weights to begin with")
    parser.add_argument("--quora", action="store_true", help="learn from non-commercial text too")
    parser.add_argument("--head", action="store_true", help="a head on the encoder's two vectors")
    parser.add_argument("--evaluate", action="store_true", help="measure what lies in --out only")
    parser.add_argument(
        "--held", type=Path, metavar="FILE.gz", help="only write the groups that are kept apart"
    )


def run(args: argparse.Namespace) -> int:
    """Train and export unless told otherwise, then measure.

    Raises:
        DataError: A file of labelled pairs is missing or torn.
    """
    if args.held:
        print(f"{write_held(args.data, args.held)} groups")
        return 0
    encoder = OnnxEncoder.load(EncoderConfig())
    rows = gathered(args.data, encoder, with_quora=args.quora, seed=args.seed)
    judge = _head(rows.learnt, encoder, args) if args.head else _network(rows.learnt, args)
    report = measured(rows.held, judge)
    print(json.dumps(report, indent=None if args.json else 1))
    return 0


def write_held(folder: Path, path: Path, own: Path = OWN) -> int:
    """Write the written groups from which no verifier learns; how many. Raises DataError."""
    groups = [row for at in (folder, own) for row in read_rows(at / GROUPS) if is_held(row["id"])]
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(group) + "\n" for group in groups)
    return len(groups)


def _head(rows: Sequence[Pair], encoder: Encoder, args: argparse.Namespace) -> Judge:
    path = args.out / HEAD
    if args.evaluate:
        return VectorHead.load(path, encoder)
    head = VectorHead(encoder)
    head.fit(rows)
    args.out.mkdir(parents=True, exist_ok=True)
    head.save(path)
    return head


def _network(rows: Sequence[Pair], args: argparse.Namespace) -> Judge:
    tokenizer = EncoderConfig().folder / TOKENIZER
    if not args.evaluate:
        args.out.mkdir(parents=True, exist_ok=True)
        train(rows, tokenizer, args)
    return OnnxVerifier(args.out / WEIGHTS, tokenizer)


def train(rows: Sequence[Pair], tokenizer: Path, args: argparse.Namespace) -> None:
    """Learn, and write the graph in float32 and in int8."""
    import torch  # noqa: PLC0415 - seconds of import, needed here only

    from train.similarity import crossencoder, steps  # noqa: PLC0415 - as above

    torch.set_num_threads(1)
    tokens = steps.Tokens(Tokenizer(tokenizer, MAX_TOKENS))
    seen = {token for pair in rows for text in (pair.one, pair.other) for token in tokens[text]}
    kept = crossencoder.vocabulary(seen)
    model = crossencoder.from_minilm(args.layers, kept, args.seed)
    if args.start:
        model = crossencoder.grown(steps.saved(args.start / steps.CHECKPOINT)["model"], model)
    learner = steps.Learner(model, args.steps, args.rate)
    every = steps.batches(rows, tokens, args.steps, args.seed)
    steps.learn(learner, every, args.out / steps.CHECKPOINT)
    whole = args.out / "verifier.fp32.onnx"
    crossencoder.export(model, whole)
    to_int8(whole, args.out / WEIGHTS)
    sign(args.out / WEIGHTS, **{MADE_FOR: digest(tokenizer)})


def gathered(
    folder: Path, encoder: Encoder, *, with_quora: bool, seed: int, own: Path = OWN
) -> Split:
    """All rows; banking's neighbours and the generated ones are among those to learn from."""
    named = split(folder, with_quora=with_quora, seed=seed, own=own)
    forbidden = scoreboard(folder, own) | {plain(t) for p in named.held for t in (p.one, p.other)}
    banking = [
        row
        for row in read_rows(folder / "banking77.jsonl.gz")
        if row["split"] == "train" and plain(row["text"]) not in forbidden
    ]
    dice = random.Random(seed)  # noqa: S311 - no secret
    quora = [pair for pair in named.learnt if pair.source == "quora"]
    learnt = [pair for pair in named.learnt if pair.source != "quora"]
    learnt += dice.sample(quora, min(QUORA_ROWS, len(quora)))
    made = generate(_seeds(named.learnt, [row["text"] for row in banking], seed), seed)
    learnt += [*neighbours(banking, encoder), *made]
    return Split([p for p in learnt if not {plain(p.one), plain(p.other)} & forbidden], named.held)


def _seeds(learnt: Iterable[Pair], banking: Iterable[str], seed: int) -> list[str]:
    """Questions to make look-alikes of; CheckList's and PAWS' are made so already."""
    dice = random.Random(seed)  # noqa: S311 - no secret
    by_source: dict[str, set[str]] = {"banking": set(banking)}
    by_source |= {source: set() for source in ("written", "nlupp", "quora")}
    for pair in learnt:
        if pair.source in by_source:
            by_source[pair.source].add(pair.one)
    chosen = (dice.sample(sorted(t), min(SEED_QUESTIONS, len(t))) for t in by_source.values())
    return [text for texts in chosen for text in texts]


def neighbours(rows: Sequence[Mapping[str, Any]], encoder: Encoder) -> Iterator[Pair]:
    """Of each question the nearest of another intent, and two near ones of its own."""
    texts = [row["text"] for row in rows]
    intents = np.array([row["intent"] for row in rows])
    vectors = encoder.encode(texts).vectors
    for place, text in enumerate(texts):
        near = vectors @ vectors[place]  # (n,)
        own = intents == intents[place]
        foe = texts[int(np.argmax(np.where(own, -1, near)))]
        yield Pair(text, foe, "banking", "other", is_same=False)
        near[place] = -1
        for other in np.flatnonzero(own & (near >= SURELY_SAME))[:2]:
            yield Pair(text, texts[int(other)], "banking", "same", is_same=True)


def measured(held: Sequence[Pair], judge: Judge) -> dict[str, Any]:
    """AUC by source, of written groups by trap, accuracy of CheckList by test, and the time."""
    begun_s = time.perf_counter()
    verdicts = [judge.verdict(pair.one, pair.other) for pair in held]
    took_ms = (time.perf_counter() - begun_s) * 1e3
    # No verdict is a no, and the firmest of all.
    logits = [-99.0 if verdict is None else verdict for verdict in verdicts]
    rows = list(zip(held, logits, strict=True))
    written = [row for row in rows if row[0].source == "written"]
    same = [row for row in written if row[0].is_same]
    tests = sorted({pair.group for pair, _ in rows if pair.source == "checklist"})
    return {
        "pairs": len(rows),
        "ms_a_pair": round(took_ms / max(1, len(rows)), 3),
        "no_verdict": verdicts.count(None),
        "auc": {name: _auc([r for r in rows if r[0].source == name]) for name in SOURCES},
        "written_by_trap": {
            trap: _auc([*same, *(row for row in written if row[0].kind == trap)])
            for trap in sorted({pair.kind for pair, _ in written if not pair.is_same})
        },
        "checklist_accuracy": {test: _accuracy(rows, test) for test in tests},
    }


SOURCES: Final = ("written", "paws", "checklist", "traps")
"""What is kept apart."""

Judged = tuple[Pair, float]


def _auc(rows: Sequence[Judged]) -> float | None:
    labels = [pair.is_same for pair, _ in rows]
    if len(set(labels)) == 1 or not rows:
        return None
    return round(float(roc_auc_score(labels, [logit for _, logit in rows])), 3)


def _accuracy(rows: Sequence[Judged], test: str) -> float:
    right = [(logit > 0) == pair.is_same for pair, logit in rows if pair.group == test]
    return round(float(np.mean(right)), 3)
