"""The verb `run`: the locust users without locust's page, in a process of their own."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from loadtest.report import Report, load
from loadtest.servers.processes import ROOT, NotReady, find_or_start

_DEMO: Final = 'kind = "demo"\n'
_GRACE_S: Final = 60.0
"""Chosen: locust's own start and end, after which it hangs and is killed."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own flags."""
    parser.add_argument("--users", type=int, default=8, help="at once (default 8)")
    parser.add_argument("--duration", type=int, default=30, help="seconds at most (default 30)")
    parser.add_argument("--requests", type=int, default=100_000, help="at most (default 100000)")
    parser.add_argument("--model", default="auto", help="auto, small, medium or large")
    parser.add_argument("--meanings", type=int, default=200, help="popular questions (default 200)")
    parser.add_argument("--new-share", type=float, default=0.2, help="never asked (default 0.2)")
    parser.add_argument(
        "--lookalike-share", type=float, default=0.1, help="another number or way (default 0.1)"
    )
    parser.add_argument("--stream-share", type=float, default=0.3, help="streams (default 0.3)")
    parser.add_argument(
        "--feedback-share", type=float, default=0.0, help="answers judged afterwards (default 0)"
    )
    parser.add_argument("--html", type=Path, metavar="OUT", help="write the report as a page there")


async def report(args: argparse.Namespace) -> Report:
    """What the users found; where no sidecar answers, of one of our own on the demo tiers."""
    async with find_or_start(args.base_url, _DEMO) as stand:
        with TemporaryDirectory(prefix="sidecar-loadtest-") as folder:
            found = Path(folder) / "report.json"
            host = stand.base_url.removesuffix("/v1")
            process = await asyncio.create_subprocess_exec(
                *_command(args, host, found),
                cwd=ROOT,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
            try:
                async with asyncio.timeout(args.duration + _GRACE_S):
                    output, _ = await process.communicate()
            finally:
                if process.returncode is None:
                    process.kill()
            # locust exits with 1 where a request failed, which the report tells too.
            if not found.exists():
                raise NotReady(f"locust wrote no report:\n{output.decode()[-2_000:]}")
            return load(found.read_text())


def _command(args: argparse.Namespace, host: str, found: Path) -> list[str]:
    flags = {
        "--locustfile": ROOT / "loadtest" / "locustfile.py",
        "--host": host,
        "--users": args.users,
        "--spawn-rate": args.users,
        "--run-time": f"{args.duration}s",
        "--seed": args.seed,
        "--model": args.model,
        "--meanings": args.meanings,
        "--new-share": args.new_share,
        "--lookalike-share": args.lookalike_share,
        "--stream-share": args.stream_share,
        "--feedback-share": args.feedback_share,
        "--max-requests": args.requests,
        "--report-to": found,
    }
    words = [str(word) for pair in flags.items() for word in pair]
    return [sys.executable, "-m", "locust", "--headless", "--only-summary", *words]
