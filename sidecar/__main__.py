"""The command line: `serve` (which may be left out), `check`, `encoder`, `cache`."""

from __future__ import annotations

import os

# Before numpy is loaded, which reads it once: its products stay on the thread that asks for them.
# Threads of its own would wait by spinning, on cores that somebody else's question is waiting for.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import asyncio
import sys
from pathlib import Path
from typing import Final

import uvloop

from sidecar import __version__, commands
from sidecar.app import serve
from sidecar.config.file import load_config
from sidecar.config.sections import Config
from sidecar.encoder import commands as encoder_commands
from sidecar.errors import ConfigError
from sidecar.telemetry.logs import configure

PRESETS: Final = Path(__file__).parent / "presets"
_VERBS: Final = ("serve", "check", "encoder", "cache")
EXIT_FAULTY: Final = 2


def main(arguments: list[str] | None = None) -> int:
    """Run one verb; its exit status."""
    told = sys.argv[1:] if arguments is None else arguments
    if not told or (told[0].startswith("--") and told[0] not in {"--help", "--version"}):
        told = ["serve", *told]
    args = _parser().parse_args(told)
    if args.verb == "encoder":
        return encoder_commands.run(args)
    if args.verb == "cache":
        return commands.run(args)
    path = Path(args.config) if args.config else preset()
    try:
        config = load_config(path)
        if args.verb == "check":
            return _told_good(config, path)
        return _serve(config, path)
    except ConfigError as fault:
        print(f"{path}: {len(fault.faults)} fault(s)", file=sys.stderr)
        for line in fault.faults:
            print(f"  {line}", file=sys.stderr)
        return EXIT_FAULTY


def preset() -> Path:
    """The preset in force without a config: OpenAI if its key is set, else the demo tiers."""
    return PRESETS / ("openai.toml" if os.environ.get("OPENAI_API_KEY") else "demo.toml")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sidecar", description="Semantic caching and routing sidecar for LLM traffic"
    )
    parser.add_argument("--version", action="version", version=__version__)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for verb, told in (
        ("serve", "serve the data plane and the operator plane (the default verb)"),
        ("check", "validate a config and list all its faults at once"),
    ):
        sub = verbs.add_parser(verb, help=told, description=told)
        sub.add_argument(
            "--config",
            default="",
            metavar="FILE",
            help="TOML file; without one the OpenAI preset if OPENAI_API_KEY is set, else the demo",
        )
    encoder_help = "fetch, verify or measure the encoder bundle"
    encoder_commands.add_arguments(
        verbs.add_parser("encoder", help=encoder_help, description=encoder_help)
    )
    cache_help = "warm a running sidecar's cache; export or import that of one that is down"
    cache = verbs.add_parser("cache", help=cache_help, description=cache_help)
    commands.add_arguments(cache, preset())
    return parser


def _told_good(config: Config, path: Path) -> int:
    tiers = ", ".join(f"{tier.name} ({tier.model})" for tier in config.tiers)
    print(f"{path}: valid; tiers {tiers}; config {config.digest}")
    return 0


def _serve(config: Config, path: Path) -> int:
    logger = configure(config.telemetry)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(config, lambda: load_config(path), logger))
    return 0


if __name__ == "__main__":
    sys.exit(main())
