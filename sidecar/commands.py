"""`python -m sidecar cache VERB`: arguments in, one clear line and an exit status out.

`warm` asks a running sidecar over its own HTTP, so that what it keeps has passed every gate that
traffic passes. `export` and `import` work on the disk store of one that is down.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from cache.errors import CacheError
from cache.stores.disk import DiskStore
from cache.stores.exchange import exported, imported, merged, newcomers
from sidecar.config import Config, load_config
from sidecar.errors import ConfigError

DONE: Final = 0
FAILED: Final = 1

_TIMEOUT_S: Final = 600.0
"""Chosen: the sidecar's own longest deadline."""

_ROWS: Final = 1_000
"""Chosen: entries in one transaction of an import."""


def add_arguments(parser: argparse.ArgumentParser, default_config: Path) -> None:
    """Declare the verbs and their flags."""
    verbs = parser.add_subparsers(dest="cache_verb", required=True, metavar="VERB")
    warm = _verb(verbs, "warm", "ask a running sidecar common questions ahead of time")
    warm.add_argument("--base-url", required=True, metavar="URL", help="http://127.0.0.1:8080/v1")
    warm.add_argument("--model", default="auto", help="where a line names none (default: auto)")
    warm.add_argument("--api-key", default="", help="whose cache is warmed; better as env:NAME")
    warm.add_argument("--namespace", default="", help="partition within the tenant")
    warm.add_argument("--tags", default="", help="comma list, kept with each answer")
    warm.add_argument("--concurrency", type=int, default=4, help="questions at once (default: 4)")
    for name, told in (
        ("export", "write the disk store of a sidecar that is down to JSON Lines"),
        ("import", "read such a file into the disk store of a sidecar that is down"),
    ):
        verb = _verb(verbs, name, told)
        verb.add_argument("--config", type=Path, default=default_config, metavar="FILE")
        verb.add_argument("--disk", type=Path, metavar="PATH", help="instead of the config's path")


def _verb(verbs: Any, name: str, told: str) -> argparse.ArgumentParser:
    verb: argparse.ArgumentParser = verbs.add_parser(name, help=told, description=told)
    verb.add_argument("file", type=Path, metavar="FILE")
    return verb


def run(args: argparse.Namespace) -> int:
    """Run one verb; its exit status."""
    try:
        if args.cache_verb == "warm":
            return warm(args)
        path = _disk_of_one_that_is_down(args)
        return export(path, args.file) if args.cache_verb == "export" else take_in(path, args.file)
    except (CacheError, ConfigError, OSError, UnicodeDecodeError) as fault:
        sys.stderr.write(f"cache {args.cache_verb}: {fault}\n")
        return FAILED


def warm(args: argparse.Namespace) -> int:
    """Ask each question of the file once; tell how the cache took them."""
    key = args.api_key
    if key.startswith("env:"):
        key = os.environ.get(key.removeprefix("env:"), "")
    headers = {
        "content-type": "application/json",
        "x-sidecar-namespace": args.namespace,
        "x-sidecar-tags": args.tags,
        "authorization": f"Bearer {key}" if key else "",
    }
    headers = {name: value for name, value in headers.items() if value}
    url = args.base_url.rstrip("/") + "/chat/completions"
    bodies = list(_questions(args.file, args.model))
    with ThreadPoolExecutor(max_workers=max(1, args.concurrency)) as pool:
        outcomes = Counter(pool.map(lambda body: _asked(url, headers, body), bodies))
    told = ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items()))
    _say(f"asked {len(bodies)}: {told or 'nothing'}")
    has_failed = any(outcome.startswith("failed") for outcome in outcomes)
    return FAILED if has_failed else DONE


def _questions(file: Path, model: str) -> Iterator[dict[str, Any]]:
    """The requests of a file: JSON objects with `messages`, JSON strings, or plain lines."""
    for line in file.read_text("utf-8").splitlines():
        if not line.strip():
            continue
        try:
            told = json.loads(line)
        except json.JSONDecodeError:
            told = line.strip()
        if isinstance(told, dict):
            yield {"model": model, **told, "stream": False}
        else:
            question = told if isinstance(told, str) else line.strip()
            yield {"model": model, "messages": [{"role": "user", "content": question}]}


def _asked(url: str, headers: dict[str, str], body: dict[str, Any]) -> str:
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)  # noqa: S310 - the operator's own URL
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:  # noqa: S310 - as above
            response.read()
            return str(response.headers.get("x-sidecar-cache", "answered by no sidecar"))
    except urllib.error.HTTPError as fault:
        return f"failed with {fault.code}"
    except OSError as fault:
        return f"failed: {type(fault).__name__}"


def _disk_of_one_that_is_down(args: argparse.Namespace) -> Path:
    """The path of the store; refuses to touch it under a sidecar that runs."""
    config = load_config(args.config)
    if args.disk is not None:
        return Path(args.disk)
    if not config.disk.path:
        raise ConfigError(["cache.disk.path: the config names no disk store; name one with --disk"])
    if _answers(config):
        where = f"{config.server.admin_host}:{config.server.admin_port}"
        raise ConfigError([f"a sidecar answers at {where}: stop it first"])
    return Path(config.disk.path)


def _answers(config: Config) -> bool:
    try:
        with socket.create_connection((config.server.admin_host, config.server.admin_port), 1.0):
            return True
    except OSError:
        return False


def export(path: Path, file: Path) -> int:
    """Write every entry that may still be served, and the invalidations in force."""
    if not path.exists():
        raise ConfigError([f"{path}: there is no disk store"])
    store = DiskStore.open(path, None)
    if store.renamed_to is not None:
        raise ConfigError([f"{path}: is none that this version reads, now {store.renamed_to}"])
    count = 0
    with file.open("wb") as out:
        for line in exported(store.load(time.time()), store.marks(), store.encoder_id):
            out.write(line + b"\n")
            count += 1
    store.close()
    _say(f"{file}: {count - 1} entries and invalidations")
    return DONE


def take_in(path: Path, file: Path) -> int:
    """Keep what the file holds; all of it is read and checked before anything is written."""
    with file.open("rb") as lines:
        exchange = imported(line.rstrip(b"\n") for line in lines)
    store = DiskStore.open(path, exchange.encoder_id)
    fresh = newcomers(exchange, store.load(time.time()), store.max_entry_id())
    store.write([], [], merged(store.marks(), exchange.marks))
    for begin in range(0, len(fresh), _ROWS):
        store.write(fresh[begin : begin + _ROWS], [])
    store.close()
    _say(f"{path}: {len(fresh)} entries kept, {len(exchange.entries) - len(fresh)} were no newer")
    return DONE


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
