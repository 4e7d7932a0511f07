"""`python -m train promote`: a new artifact in; if it passes the gate, on trial in the registry.

The registry's running sidecars notice within a second: first they ask the candidate in shadow, then
it decides a growing share, and it serves in the end, or is taken back, by their own guards.
"""

from __future__ import annotations

import argparse
import getpass
import json
import time
from pathlib import Path
from typing import Any, Final

from router.artifact import DEFAULT, Artifact
from router.errors import ArtifactError
from router.registry import Registry
from router.release import Note
from train.errors import DataError
from train.fitting.fit import WORK
from train.samples.keys import add_key, find_cipher
from train.samples.rows import file_hashes
from train.samples.tier3 import read_tier3
from train.samples.vectors import TextEncoder, load_encoder, vectors_of
from train.scoring.replay import tiers_of
from train.scoring.tracking import add_tracking, track
from train.weighing import gate, logged

HELP: Final = "put an artifact that passes the gate on trial: shadow, canary, then serving"
REGISTRY: Final = Path(".sidecar/router")
REFUSED: Final = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own arguments."""
    parser.add_argument("--artifact", type=Path, required=True, metavar="DIR")
    rows = parser.add_mutually_exclusive_group(required=True)
    rows.add_argument(
        "--data", type=Path, nargs="+", metavar="FILE", help="tier3 rows that it never saw"
    )
    rows.add_argument(
        "--traffic", type=Path, metavar="DIR", help="the log: off-policy, by its propensities"
    )
    parser.add_argument(
        "--registry", type=Path, default=REGISTRY, metavar="DIR", help=f"({REGISTRY})"
    )
    parser.add_argument(
        "--against",
        type=Path,
        metavar="DIR",
        help="compare with this artifact, and not with the one that serves",
    )
    parser.add_argument("--margin", type=float, help="loss that the interval's end may not pass")
    parser.add_argument("--reason", default="", help="kept in the history")
    parser.add_argument(
        "--force", default="", metavar="REASON", help="put it on trial though the gate refuses"
    )
    parser.add_argument("--work", type=Path, default=WORK, help="where vectors are kept")
    add_key(parser)
    add_tracking(parser)


def run(args: argparse.Namespace) -> int:
    """Compare, tell, and put on trial; 3 if the gate refuses."""
    return promote(args, load_encoder())


def promote(args: argparse.Namespace, encoder: TextEncoder) -> int:
    """As `run`."""
    registry = Registry(args.registry)
    candidate = Artifact.load(args.artifact)
    candidate.check_encoder(encoder.encoder_id)
    serving = _serving(args, registry)
    if serving.version == candidate.version:
        raise ArtifactError(f"{candidate.version} serves already")
    report, more = _report(args, candidate, serving, encoder)
    is_released = report.passed or bool(args.force)
    told = {
        "candidate": candidate.version,
        "serving": serving.version,
        **report.told(),
        **more,
        "forced": args.force if not report.passed else "",
        "released": is_released,
    }
    if is_released:
        told["stage"] = _release(args, registry, candidate, report)
    print(json.dumps(told) if args.json else _shown(args, told, report))
    track(
        args,
        "promote",
        params={name: told[name] for name in ("candidate", "serving", "rows", "forced")},
        metrics={
            "passed": report.passed,
            "released": is_released,
            "lead": {check.name: check.lead for check in report.checks},
            "candidate": {check.name: check.candidate for check in report.checks},
            "serving": {check.name: check.serving for check in report.checks},
        },
        documents={"gate.json": told, "manifest.json": candidate.manifest},
    )
    return 0 if is_released else REFUSED


def _serving(args: argparse.Namespace, registry: Registry) -> Artifact:
    """What the candidate is held against: what serves, else what comes along."""
    if args.against is not None:
        return Artifact.load(args.against)
    serving = registry.read().state.serving
    return registry.load(serving) if serving else Artifact.load(DEFAULT)


def _report(
    args: argparse.Namespace, candidate: Artifact, serving: Artifact, encoder: TextEncoder
) -> tuple[gate.Report, dict[str, Any]]:
    margin = {} if args.margin is None else {"margin": args.margin}
    if args.traffic:
        report, estimates = logged.compare(
            candidate,
            serving,
            args.traffic,
            encoder.encoder_id,
            **margin,
            seed=args.seed,
            cipher=find_cipher(args.traffic_key),
        )
        return report, {"traffic": str(args.traffic), "estimates": estimates}
    examples = read_tier3(args.data)
    hashes = file_hashes(args.data)
    if seen := set(hashes.values()) & set(map(str, candidate.manifest.get("data", {}).values())):
        names = sorted(name for name, found in hashes.items() if found in seen)
        raise DataError(f"the candidate was fitted on {names}: a gate needs rows that it never saw")
    vectors = vectors_of(examples, encoder, args.work)
    report = gate.compare(
        candidate, serving, examples, vectors, tiers=tiers_of(examples), **margin, seed=args.seed
    )
    return report, {"data": hashes}


def _release(
    args: argparse.Namespace, registry: Registry, candidate: Artifact, report: gate.Report
) -> str:
    """Register it and begin its trial in shadow; the stage."""
    state = registry.read().state
    if not state.serving:  # no sidecar has followed this registry yet
        base = args.against or DEFAULT
        first = registry.add(base)
        note = Note(at=time.time(), who=who(), reason="served before the registry was")
        registry.change(lambda held: held if held.serving else held.adopting(first.version, note))
    registry.add(args.artifact)
    found = "the gate was passed" if report.passed else f"forced: {args.force}"
    reason = "; ".join(filter(None, (found, args.reason)))
    note = Note(at=time.time(), who=who(), reason=reason)
    return registry.change(lambda held: held.trying(candidate.version, note)).stage


def who() -> str:
    """The login of whoever runs this; a container may have none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "train"


def _shown(args: argparse.Namespace, told: dict[str, Any], report: gate.Report) -> str:
    lines = [f"candidate {told['candidate']} against {told['serving']}", report.gist()]
    for name, figures in told.get("estimates", {}).items():
        lines += [f"{name:<10}{_told(what, ways)}" for what, ways in figures.items()]
    if told["released"]:
        forced = f", forced: {told['forced']}" if told["forced"] else ""
        lines.append(f"in {args.registry}, stage {told['stage']}{forced}")
    return "\n".join(lines)


def _told(what: str, ways: dict[str, Any]) -> str:
    """One quantity's estimates in one line."""
    low, high = ways["dr"]["interval"]
    others = "  ".join(f"{way} {ways[way]['value']:.5f}" for way in ("snips", "ips") if way in ways)
    return (
        f"{what:<9} dr {ways['dr']['value']:.5f} ({low:.5f} to {high:.5f})  {others}"
        f"  effective rows {ways['effective_rows']:.0f}"
    )
