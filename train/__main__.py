"""`python -m train VERB`: a command line in, one verb run, an exit status out.

0: done. 1: the verb says no. 2: it could not be done, and why. 3: a gate refused. 130: stopped with
Ctrl-C; what was made so far is kept, and the same command goes on from there.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Final

from cache.errors import CacheError
from router.errors import RouterError
from sidecar.errors import SidecarError
from train.errors import TrainError

VERBS: Final = {
    "fit": "train.fitting.fit",
    "evaluate": "train.weighing.evaluate",
    "collect": "train.samples.collect",
    "label": "train.samples.label",
    "promote": "train.release.promote",
    "rollback": "train.release.rollback",
    "report": "train.weighing.report",
    "rivals": "train.weighing.rivals",
    "contest": "train.weighing.contest",
    "routellm": "train.weighing.routellm",
    "budget": "train.weighing.pacing",
    "foreign": "train.weighing.foreign",
    "export-log": "train.samples.export_log",
    "encoder": "train.encoder",
    "cache": "train.similarity.cache",
    "verifier": "train.similarity.verifier",
}
STOPPED: Final = 130


def main(words: Sequence[str]) -> int:
    """Run one verb; only its own module is imported, for some of them take seconds to load."""
    verb = next((word for word in words if not word.startswith("-")), "")
    try:
        if verb not in VERBS:
            return _list_verbs(words)
        module = importlib.import_module(VERBS[verb])
        args = _parser(verb, module).parse_args(words[1:])
        return int(module.run(args))
    except (TrainError, RouterError, SidecarError, CacheError) as fault:
        print(f"train {verb}: {fault}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            f"\ntrain {verb}: stopped; what was made is kept, the same command goes on from there",
            file=sys.stderr,
        )
        return STOPPED


def _parser(verb: str, module: ModuleType) -> argparse.ArgumentParser:
    # `evaluate --json OUT` and `encoder --json FILE` name a file: a verb's own word wins.
    parser = argparse.ArgumentParser(
        prog=f"python -m train {verb}", description=module.HELP, conflict_handler="resolve"
    )
    parser.add_argument("--seed", type=int, default=0, help="of every dice in it (0)")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    module.add_arguments(parser)
    return parser


def _list_verbs(words: Sequence[str]) -> int:
    asked = bool(words) and words[0] in {"-h", "--help"}
    out = sys.stdout if asked else sys.stderr
    print("usage: python -m train VERB [--seed N] [--json] ...\n", file=out)
    for verb, name in VERBS.items():
        module = importlib.import_module(name)
        print(f"  {verb:<11} {module.HELP}", file=out)
    return 0 if asked else 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
