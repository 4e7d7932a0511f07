"""`python -m sidecar cache VERB`: arguments in, one clear line and an exit status out.

`warm` asks a running sidecar over its own HTTP, so that what it keeps has passed every gate that
traffic passes. `export` and `import` work on the disk store of one that is down. `bench` measures
the index on this machine.
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
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

from cache.errors import CacheError
from cache.stores.disk import DiskStore
from cache.stores.exchange import exported, imported, merged, newcomers
from sidecar.config.file import load_config
from sidecar.config.sections import Config
from sidecar.disk.sealing import AesGcm, cipher_of
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
    told = "measure the index at each size: time, recall, memory; a million take ten minutes"
    measure = verbs.add_parser("bench", help=told, description=told)
    measure.add_argument("--entries", default="1000,10000,100000,1000000", help="sizes, by commas")
    measure.add_argument("--partitions", type=int, default=10_000, help="of 100 each; 0 for none")
    measure.add_argument(
        "--vectors",
        type=Path,
        metavar="FILE",
        help="of real questions, as `encoder embed` writes them; without them they are drawn",
    )
    measure.add_argument("--seed", type=int, default=0, help="of the cloud (default: 0)")
    measure.add_argument("--json", action="store_true", help="all figures as JSON")


def _verb(verbs: Any, name: str, told: str) -> argparse.ArgumentParser:
    verb: argparse.ArgumentParser = verbs.add_parser(name, help=told, description=told)
    verb.add_argument("file", type=Path, metavar="FILE")
    return verb


def run(args: argparse.Namespace) -> int:
    """Run one verb; its exit status."""
    try:
        if args.cache_verb == "warm":
            return warm(args)
        if args.cache_verb == "bench":
            return bench(args)
        path, cipher = _disk_of_one_that_is_down(args)
        verb = export if args.cache_verb == "export" else take_in
        return verb(path, args.file, cipher)
    except (CacheError, ConfigError, OSError, ValueError) as fault:
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


def _disk_of_one_that_is_down(args: argparse.Namespace) -> tuple[Path, AesGcm | None]:
    """The path of the store and its key; refuses to touch it under a sidecar that runs."""
    config = load_config(args.config)
    if args.disk is not None:
        return Path(args.disk), cipher_of(config.disk.key)
    if not config.disk.path:
        raise ConfigError(["cache.disk.path: the config names no disk store; name one with --disk"])
    if _answers(config):
        where = f"{config.server.admin_host}:{config.server.admin_port}"
        raise ConfigError([f"a sidecar answers at {where}: stop it first"])
    return Path(config.disk.path), cipher_of(config.disk.key)


def _answers(config: Config) -> bool:
    try:
        with socket.create_connection((config.server.admin_host, config.server.admin_port), 1.0):
            return True
    except OSError:
        return False


def export(path: Path, file: Path, cipher: AesGcm | None = None) -> int:
    """Write every entry that may still be served, and the invalidations in force, in clear."""
    if not path.exists():
        raise ConfigError([f"{path}: there is no disk store"])
    store = DiskStore.open(path, None, cipher=cipher)
    if store.renamed_to is not None:
        raise ConfigError([f"{path}: is none that this version reads, now {store.renamed_to}"])
    count = 0
    with file.open("wb") as out:
        file.chmod(0o600)  # in clear, whatever the store is
        for line in exported(store.load(time.time()), store.marks(), store.encoder_id):
            out.write(line + b"\n")
            count += 1
    store.close()
    _say(f"{file}: {count - 1} entries and invalidations")
    return DONE


def take_in(path: Path, file: Path, cipher: AesGcm | None = None) -> int:
    """Keep what the file holds; all of it is read and checked before anything is written."""
    with file.open("rb") as lines:
        exchange = imported(line.rstrip(b"\n") for line in lines)
    store = DiskStore.open(path, exchange.encoder_id, cipher=cipher)
    fresh = newcomers(exchange, store.load(time.time()), store.max_entry_id())
    store.write([], [], merged(store.marks(), exchange.marks))
    for begin in range(0, len(fresh), _ROWS):
        store.write(fresh[begin : begin + _ROWS], [])
    store.close()
    _say(f"{path}: {len(fresh)} entries kept, {len(exchange.entries) - len(fresh)} were no newer")
    return DONE


def bench(args: argparse.Namespace) -> int:
    """Measure each size in a process of its own, and tell it as a table or as JSON."""
    from sidecar.caching import growthbench  # noqa: PLC0415 - who serves need not load it

    sizes = [int(size) for size in args.entries.split(",") if size]
    rows = [_apart(growthbench.measured, size, args.vectors, args.seed) for size in sizes]
    for row in rows:
        is_large = row["entries"] > growthbench.IN_MEMORY
        each = (
            None
            if is_large
            else _apart(growthbench.measured_alone, row["entries"], args.vectors, args.seed)
        )
        row["bytes_each_alone"] = each
    many = None
    if args.partitions:
        many = _apart(growthbench.measured_many, args.partitions, args.vectors, args.seed)
    if args.json:
        _say(json.dumps({"rows": rows, "many": many}))
        return DONE
    _say("| " + " | ".join(_HEADS) + " |\n|" + "---:|" * len(_HEADS))
    for row in rows:
        _say("| " + " | ".join(_cells(row)) + " |")
    if many is not None:
        _say(json.dumps(many))
    return DONE


def _apart(work: Callable[..., Any], *args: Any) -> Any:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(work, *args).result()


_HEADS: Final = (
    "entries",
    "search p50 / p99 ms",
    "fetch p50 ms",
    "recall@1",
    "where near",
    "bytes an entry",
    "memory alone",
    "opened in s, first / again",
    "add / remove per s",
    "laid anew in s",
    "owner kept ms",
    "search meanwhile p99 / max ms",
    "without p99 / max ms",
)


def _cells(row: dict[str, Any]) -> list[str]:
    busy, calm = (f"{row['stall_p99_ms'][i]:.1f} / {row['stall_ms'][i]:.0f}" for i in (0, 1))
    alone = row["bytes_each_alone"]
    return [
        f"{row['entries']:,}",
        "{:.2f} / {:.2f}".format(*row["search_ms"]),
        f"{row['fetch_ms']:.2f}",
        f"{row['recall']:.3f}",
        f"{row['recall_near']:.3f}",
        f"{row['bytes_each']:,.0f}",
        "" if alone is None else f"{alone:,.0f}",
        "{:.1f} / {:.1f}".format(*row["open_s"]),
        f"{row['added_per_s']:,.0f} / {row['removed_per_s']:,.0f}",
        f"{row['relaid_s']:.1f}",
        f"{row['swap_ms']:.1f}",
        busy,
        calm,
    ]


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
