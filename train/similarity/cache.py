"""Judged pairs of questions in, the cache's risk models with their operating tables out.

Fitted on the pairs of real questions alone (`judged`), which no verifier has learnt from;
written look-alikes are measured on, since nobody's traffic is full of them.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from cache.risk import DEFAULT_PATH, FORMAT, RiskModel
from sidecar.encoder.bundle import TOKENIZER, EncoderConfig
from sidecar.encoder.onnx import OnnxEncoder
from sidecar.encoder.verifier import FOLDER, RISK, WEIGHTS, OnnxVerifier
from train.similarity.judged import arrays, calibration_rows
from train.similarity.latency import latencies
from train.similarity.lookalike_stages import lookalikes
from train.similarity.stages import allowed, corpora_left_out, fitted, stages, verdicts
from train.similarity.tables import tables
from train.similarity.vectorhead import VectorHead

HELP: Final = "calibrate the cache's risk of a false hit from judged pairs of questions"

STDOUT: Final = Path("-")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own flags."""
    data = Path("../shared/data/cache")
    parser.add_argument("--data", type=Path, default=data, help="folder of the labelled pairs")
    parser.add_argument("--out", type=Path, default=DEFAULT_PATH, help="the cheap model's file")
    parser.add_argument(
        "--verifier", type=Path, default=FOLDER, help="its folder, for weights and model; or `off`"
    )
    parser.add_argument("--head", type=Path, help="a head on the vectors, to be compared with")
    parser.add_argument(
        "--evaluate",
        type=Path,
        nargs="?",
        const=data,
        metavar="DATA",
        help="measure, write nothing",
    )
    parser.add_argument(
        "--json", type=Path, nargs="?", const=STDOUT, metavar="OUT", help="every figure as JSON"
    )


def run(args: argparse.Namespace) -> int:
    """Fit, measure, and write unless told otherwise.

    Raises:
        DataError: A file of labelled pairs is missing or torn.
        EncoderError: The encoder's bundle or the verifier cannot be used.
    """
    folder = args.evaluate or args.data
    encoder = OnnxEncoder.load(EncoderConfig())
    verifier = _verifier(args.verifier)
    head = VectorHead.load(args.head, encoder) if args.head else None
    pairs = arrays(calibration_rows(folder))
    told = verdicts(verifier, pairs) if verifier is not None else None
    models = fitted(pairs, verifier, told, args.seed)
    report = {
        "rows": {name: len(pairs.of(name)) for name in pairs.files},
        "stages": stages(pairs, told, head, args.seed),
        "allowed": allowed(pairs, told, args.seed),
        "left_out": corpora_left_out(pairs, told, args.seed),
        "lookalikes": lookalikes(folder, encoder, models, head, args.seed),
        "latency_ms": latencies(models, encoder, pairs.rows),
        "points": {name: [asdict(p) for p in m.points] for name, m in models.named().items()},
    }
    if args.evaluate is None:
        write(models.cheap, args.out, pairs.files)
        if models.verified is not None:
            write(models.verified, args.verifier / RISK, pairs.files)
    tell(report, args.json)
    return 0


def _verifier(path: Path) -> OnnxVerifier | None:
    if str(path) == "off":
        return None
    return OnnxVerifier(path / WEIGHTS, EncoderConfig().folder / TOKENIZER)


def tell(report: Mapping[str, Any], to: Path | None) -> None:
    """As tables; to `-` as JSON on one line, to a file as JSON beside the tables."""
    if to == STDOUT:
        print(json.dumps(report))
        return
    if to is not None:
        to.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(tables(report))


def write(model: RiskModel, path: Path, files: Sequence[str]) -> None:
    """One model's file."""
    written = {
        "format": FORMAT,
        "made_by": "python -m train cache",
        "fitted_on": list(files),
        **asdict(model),
    }
    path.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")
