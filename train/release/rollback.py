"""`python -m train rollback`: ends the trial; without one, what served before serves again.

Running sidecars notice within a second; none is restarted.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Final

from router.registry import Registry
from router.release import Note
from train.release.promote import REGISTRY, who

HELP: Final = "take the candidate back, or have what served before serve again"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own arguments."""
    parser.add_argument(
        "--registry", type=Path, default=REGISTRY, metavar="DIR", help=f"({REGISTRY})"
    )
    parser.add_argument("--reason", default="", help="kept in the history")


def run(args: argparse.Namespace) -> int:
    """Change the state, and say what it is now."""
    note = Note(at=time.time(), who=who(), reason=args.reason)
    state = Registry(args.registry).change(lambda held: held.rolling_back(note))
    back = state.history[-1].version
    told = {"rolled_back": back, "serving": state.serving, "stage": state.stage}
    print(json.dumps(told) if args.json else f"{back} is taken back; {state.serving} serves")
    return 0
