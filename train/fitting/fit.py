"""`python -m train fit`: labelled rows or the traffic log in, an artifact out."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

import sidecar
from router import features
from router.artifact import DEFAULT, FORMAT, KIND, Artifact, content_hash
from router.policy import Router, RouterConfig
from router.tiers import Ladder
from sidecar.encoder.bundle import PRECISIONS
from sidecar.traffic.reader import log_files
from train.errors import DataError
from train.fitting import relearn, shift
from train.fitting.known import known_arrays, latest_arrays
from train.fitting.learn import Crossed, CrossedEstimator, learn, rowset
from train.fitting.precisions import admitted
from train.fitting.trees import DEFAULT as DEFAULT_TREES
from train.fitting.trees import TreesConfig
from train.samples.examples import Example
from train.samples.keys import add_key, find_cipher
from train.samples.rows import file_hashes
from train.samples.tier3 import read_tier3
from train.samples.traffic import HELD_OUT, read_traffic
from train.samples.vectors import TextEncoder, Vectors, load_encoder, vectors_of
from train.scoring.replay import Remembering, ladder_of, replay, tiers_of
from train.scoring.tracking import add_tracking, track

HELP: Final = "fit the router from tier3 rows, or shift an artifact by what the traffic log says"
WORK: Final = Path(".sidecar/train")
LEAST_ROWS: Final = 200
"""Chosen: below it five folds leave too little for a head; from the log 1 label is enough."""
DIAL: Final = 33
DIAL_ROWS: Final = 3000
"""Chosen: 33 points over 3,000 rows place each share of the gain within 0.01 of the truth."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own arguments."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", type=Path, nargs="+", metavar="FILE", help="tier3 rows (.gz too)")
    source.add_argument("--traffic", type=Path, metavar="DIR", help="the log, feedback as labels")
    add_key(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="artifact's folder")
    parser.add_argument(
        "--precisions",
        nargs="*",
        default=[],
        choices=PRECISIONS,
        help="of the encoder, to be served too where they decide alike (with --data)",
    )
    parser.add_argument(
        "--parent", type=Path, default=DEFAULT, help="artifact to shift (with --traffic)"
    )
    parser.add_argument("--work", type=Path, default=WORK, help="where vectors are kept")
    add_tracking(parser)


def run(args: argparse.Namespace) -> int:
    """Fit, save, and say what came of it."""
    encoder = load_encoder()
    artifact = from_traffic(args, encoder) if args.traffic else from_data(args, encoder)
    artifact.save(args.out)
    told = {"version": artifact.version, "out": str(args.out), **artifact.manifest["metrics"]}
    print(json.dumps(told) if args.json else "\n".join(f"{k}: {v}" for k, v in told.items()))
    kept = ("version", "parent", "rows", "seed", "tiers", "data")
    track(
        args,
        "fit",
        params={name: artifact.manifest.get(name) for name in kept},
        metrics={name: artifact.manifest.get(name) for name in ("metrics", "refit")},
        documents={"manifest.json": artifact.manifest},
    )
    return 0


def from_data(args: argparse.Namespace, encoder: TextEncoder) -> Artifact:
    """An artifact fitted on fully labelled rows."""
    examples = read_tier3(args.data)
    if len(examples) < LEAST_ROWS:
        raise DataError(f"{len(examples)} rows are too few to fit on; {LEAST_ROWS} are needed")
    vectors = vectors_of(examples, encoder, args.work)
    head = {"encoder_ids": [encoder.encoder_id], "data": file_hashes(args.data), "parent": None}
    artifact = fitted(head, examples, vectors, args.seed)
    others = {name: load_encoder(name) for name in args.precisions}
    return admitted(artifact, examples, vectors, others, args.work) if others else artifact


def fitted(
    head: Mapping[str, Any],
    examples: Sequence[Example],
    vectors: Vectors,
    seed: int,
    config: TreesConfig = DEFAULT_TREES,
) -> Artifact:
    """The artifact of these rows; `head` says where they and their vectors come from."""
    tiers = tiers_of(examples)
    arrays, crossed = learn(rowset(examples, vectors, tiers), seed, config)
    arrays |= known_arrays(vectors, crossed.right[()], crossed.gain[()], seed)
    shape = {"tiers": list(tiers), "dim": int(vectors.shape[1])}
    head = {**head, **shape, "rows": len(examples), "seed": seed}
    return with_table(head, arrays, crossed, examples, ladder=ladder_of(examples, tiers))


def with_table(
    head: Mapping[str, Any],
    arrays: dict[str, NDArray[Any]],
    crossed: Crossed,
    examples: Sequence[Example],
    *,
    ladder: Ladder,
) -> Artifact:
    """The artifact with its table: quality is the share of the gain that is bought.

    The policy is replayed on cross-fitted scores at falling prices of quality. Each price stands
    in the table at the share of the gain, from always the cheapest tier to the best that any price
    reaches, that it bought.
    """
    # Prices as far apart as costs may be: from a dollar buying nothing of interest to any price.
    most = 2.0 / max(1e-9, float(np.mean([e.answers[ladder[0].name].cost_usd for e in examples])))
    prices = np.concatenate([np.geomspace(most, most / 1e5, DIAL - 1), [0.0]])
    dial = {"quality": np.linspace(0.0, 1.0, DIAL), "price": prices}
    # Without what was known: the vectors below are blank, and would all be strange to it.
    plain = {name: values for name, values in arrays.items() if not name.startswith("known_")}
    trial = Artifact.build(_manifest(head, plain | dial, {}), plain | dial)
    router = Router(ladder=ladder, artifact=trial, config=RouterConfig())
    place = {example.query: row for row, example in enumerate(examples)}
    router.estimator = Remembering(CrossedEstimator(crossed, ladder, place))
    step = max(1, len(examples) // DIAL_ROWS)
    some = list(examples[::step])
    blank = np.zeros((len(some), trial.dim), np.float32)
    reached = [
        float(replay(router, ladder, some, blank, q).correct.mean()) for q in dial["quality"]
    ]
    table = share_table(np.array(reached), prices)
    metrics = {"quality_at_cheapest": reached[0], "quality_at_best": max(reached)}
    return Artifact.build(_manifest(head, arrays | table, metrics), arrays | table)


def share_table(reached: NDArray[np.float64], prices: NDArray[np.float64]) -> dict[str, Any]:
    """`quality` rising from 0 to 1 and `price` falling to 0, from quality reached at each price."""
    rising = np.maximum.accumulate(reached)
    gain = max(rising[-1] - rising[0], 1e-9)
    shares = (rising - rising[0]) / gain
    # Where several prices buy the same, the dearest of them is taken: it costs the least.
    kept = [0, *(i for i in range(1, len(shares)) if shares[i] > shares[i - 1] + 1e-9)]
    share, price = shares[kept], prices[kept]
    if share[-1] < 1.0 or price[-1] > 0.0:
        share, price = np.append(share[share < 1.0], 1.0), np.append(price[share < 1.0], 0.0)
    return {"quality": share.astype(np.float64), "price": price.astype(np.float64)}


def from_traffic(args: argparse.Namespace, encoder: TextEncoder) -> Artifact:
    """What the log's labels make of the parent: heads fitted anew where they tell enough."""
    parent = Artifact.load(args.parent)
    parent.check_encoder(encoder.encoder_id)
    cipher = find_cipher(args.traffic_key)
    examples = read_traffic(args.traffic, encoder.encoder_id, cipher, for_fit=True)
    known = shift.keep_known(examples, parent.tiers)
    if not known:
        raise DataError(f"no feedback in {args.traffic} speaks of a tier of {parent.tiers}")
    vectors = vectors_of(known, encoder, args.work)
    head = {
        **{name: parent.manifest[name] for name in ("tiers", "dim", "encoder_ids")},
        "data": file_hashes(log_files(args.traffic)),
        "held_out": HELD_OUT,
        "rows": len(known),
        "seed": args.seed,
        "parent": parent.version,
        "until": max(example.at for example in known),
    }
    if refit := relearn.find_refit(parent, head, known, vectors, args.seed, with_table):
        return refit
    is_new = shift.is_unseen(parent, known)
    fresh = [example for example, is_one in zip(known, is_new, strict=True) if is_one]
    if not fresh:
        raise DataError(f"nothing in {args.traffic} was said since {parent.version} learnt from it")
    arrays, metrics = shift.shifted(parent, fresh, vectors[is_new], seed=args.seed)
    moved = Artifact.build(_manifest(head, arrays, metrics), arrays)
    arrays |= latest_arrays(moved, known, vectors)
    return Artifact.build(_manifest(head, arrays, metrics), arrays)


def _manifest(
    head: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], metrics: Mapping[str, Any]
) -> dict[str, Any]:
    now = datetime.now(UTC)
    return {
        **head,
        "kind": KIND,
        "format": FORMAT,
        "version": f"{now:%Y%m%d}-{content_hash(arrays)}",
        "created_at": now.isoformat(timespec="seconds"),
        "code_version": sidecar.__version__,
        "features": features.names(),
        "metrics": dict(metrics),
    }
