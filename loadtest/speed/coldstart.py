"""The verb `start`: how long from a process's begin to its first answer, over a cache that is full.

A sidecar is asked one question and ended; its one entry is exported, told again under other keys
and with vectors drawn at random until there are as many as were asked for, and imported. Then it is
started again and again, and asked that question until it answers: an exact hit, off the disk. Who
is asked a paraphrase goes on until it is a hit by meaning, for which the partition's index must
have been read. Beside it a bare server is started in turns: what the language alone takes here.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import http.client
import json
import os
import random
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from loadtest.measures.intervals import percentile
from loadtest.report import Report, Table
from loadtest.servers.processes import ROOT, NotReady, free_port, python, sidecar_config

KEPT: Final = "What is 12 plus 7?"
MEANT: Final = "How much is 12 plus 7?"
DIM: Final = 384

PARTITION: Final = 2_000
"""Chosen: entries of one; more than are read while somebody waits, fewer than are laid in cells."""

WAIT_S: Final = 120.0
"""Chosen: whoever has not answered by then is broken, not slow."""

PAUSE_S: Final = 0.005
"""Chosen: a refused connection costs next to nothing, and this is 0.3 % of the aim."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """One start, in seconds from the process's begin.

    Attributes:
        first_s: The first answer, an exact hit.
        cpu_s: Of the process until then, on all its threads.
        meant_s: The first hit by meaning.
        rss_mib: Resident memory then.
    """

    first_s: float
    cpu_s: float
    meant_s: float
    rss_mib: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own flags."""
    parser.add_argument("--entries", type=int, default=100_000, help="kept (default 100000)")
    parser.add_argument("--starts", type=int, default=7, help="of each (default 7)")
    parser.add_argument("--workers", type=int, default=1, help="[server] workers (default 1)")


async def report(args: argparse.Namespace) -> Report:
    """Medians and the slowest, beside a bare server's."""
    with TemporaryDirectory(prefix="sidecar-loadtest-") as told:
        folder = Path(told)
        site = _Site(folder, args.workers)
        site.fill(args.entries)
        begun, bare = [], []
        for _ in range(args.starts):
            begun.append(site.started())
            bare.append(site.bare_start_s())
    firsts = [each.first_s for each in begun]
    meant = [each.meant_s for each in begun]
    rows = [
        ("bare aiohttp server", *_cells(bare)),
        ("first answer, an exact hit", *_cells(firsts)),
        ("first hit by meaning", *_cells(meant)),
        ("processor time to the first answer", *_cells([each.cpu_s for each in begun])),
    ]
    figures: dict[str, Any] = {
        "entries": args.entries,
        "first_s": firsts,
        "cpu_s": [each.cpu_s for each in begun],
        "meant_s": meant,
        "bare_s": bare,
        "rss_mib": [each.rss_mib for each in begun],
    }
    table = Table(title="Seconds from begin", headings=("what", "median", "slowest"), rows=rows)
    rss = f"{percentile(figures['rss_mib'], 0.5):.0f} MiB resident after that (median)."
    return Report(
        title=f"Start over {args.entries} entries", tables=[table], figures=figures, notes=[rss]
    )


def _cells(values: list[float]) -> tuple[str, str]:
    return f"{percentile(values, 0.5):.2f}", f"{max(values):.2f}"


class _Site:
    """A folder with a config and a store, and processes that are started over it."""

    def __init__(self, folder: Path, workers: int) -> None:
        self._folder = folder
        self._port, admin_port = free_port(), free_port()
        self._config = folder / "sidecar.toml"
        text = sidecar_config(folder, self._port, admin_port, 'kind = "demo"\nspeed = 0.0\n')
        self._config.write_text(text.replace("[server]\n", f"[server]\nworkers = {workers}\n", 1))
        # As it is served: with the bytecode of the start before.
        unwanted = ("PYTHONDONTWRITEBYTECODE",)
        self._env = {name: value for name, value in os.environ.items() if name not in unwanted}
        self._env["PYTHONPYCACHEPREFIX"] = str(folder / "bytecode")

    def fill(self, entries: int) -> None:
        """Have so many entries on disk."""
        with self._running("sidecar", "serve", "--config", str(self._config)) as process:
            _until(process, self._port, KEPT, "hit-exact", only_if_cached=False)
        one, all_of_them = self._folder / "one.jsonl", self._folder / "all.jsonl"
        self._run("sidecar", "cache", "export", str(one), "--config", str(self._config))
        with all_of_them.open("w") as file:
            file.writelines(_told_again(one.read_text().splitlines(), entries))
        self._run("sidecar", "cache", "import", str(all_of_them), "--config", str(self._config))
        all_of_them.unlink()

    def started(self) -> Begun:
        """One start, and its end."""
        begun_s = time.perf_counter()
        with self._running("sidecar", "serve", "--config", str(self._config)) as process:
            _until(process, self._port, KEPT, "hit-exact")
            first_s = time.perf_counter() - begun_s
            cpu_s = _cpu_s(process.pid)
            _until(process, self._port, MEANT, "hit-semantic")
            meant_s = time.perf_counter() - begun_s
            rss_mib = _rss_mib(process.pid)
        return Begun(first_s=first_s, cpu_s=cpu_s, meant_s=meant_s, rss_mib=rss_mib)

    def bare_start_s(self) -> float:
        """The same of a server that does nothing."""
        body = self._folder / "body.json"
        body.write_text("{}")
        port = free_port()
        begun_s = time.perf_counter()
        words = ("--port", str(port), "--body", str(body), "--upstream", "http://127.0.0.1:1/")
        with self._running("loadtest.servers.baseline", *words) as process:
            _until(process, port, KEPT, "", path="/handler")
            return time.perf_counter() - begun_s

    @contextmanager
    def _running(self, *words: str) -> Iterator[subprocess.Popen[bytes]]:
        process = self._begin(*words)
        try:
            yield process
        finally:
            process.terminate()
            process.wait(60.0)

    def _begin(self, *words: str) -> subprocess.Popen[bytes]:
        with (self._folder / "log").open("ab") as log:
            return subprocess.Popen(  # noqa: S603 - our own command
                python(*words), cwd=ROOT, env=self._env, stdout=log, stderr=log
            )

    def _run(self, *words: str) -> None:
        process = self._begin(*words)
        if process.wait(1_200.0):
            raise NotReady(f"{' '.join(words)}:\n{(self._folder / 'log').read_text()[-2_000:]}")


def _until(
    process: subprocess.Popen[bytes],
    port: int,
    question: str,
    cache: str,
    *,
    path: str = "/v1/chat/completions",
    only_if_cached: bool = True,
) -> None:
    """Ask until the answer is what it should be.

    Raises:
        NotReady: It never is.
    """
    body = {"model": "small", "messages": [{"role": "user", "content": question}]}
    end_s = time.perf_counter() + WAIT_S
    while time.perf_counter() < end_s and process.poll() is None:
        with suppress(OSError, http.client.HTTPException):
            if _asked(port, path, json.dumps(body), only_if_cached=only_if_cached) == cache:
                return
        time.sleep(PAUSE_S)
    raise NotReady(f"{path} gave no {cache or 'answer'} in {WAIT_S:g} s")


def _asked(port: int, path: str, body: str, *, only_if_cached: bool) -> str | None:
    """What the cache had to do with the answer; empty if it says nothing, None if it is none."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_S)
    try:
        headers = {"content-type": "application/json"}
        if only_if_cached:  # a miss is not answered, and so not kept: it may be a hit later
            headers["cache-control"] = "only-if-cached"
        connection.request("POST", path, body, headers)
        response = connection.getresponse()
        response.read()
        is_good = response.status == 200  # noqa: PLR2004 - HTTP's own
        return response.headers.get("x-sidecar-cache", "") if is_good else None
    finally:
        connection.close()


def _cpu_s(process_id: int) -> float:
    """Of the process, its user's and the system's."""
    fields = Path(f"/proc/{process_id}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _rss_mib(process_id: int) -> float:
    status = Path(f"/proc/{process_id}/status").read_text("ascii")
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def _told_again(lines: list[str], entries: int) -> Iterator[str]:
    """The export's lines, its one entry again and again under keys and with vectors drawn."""
    yield from (line + "\n" for line in lines)
    entry = json.loads(lines[-1])["entry"]
    dice = random.Random(0)
    for number in range(2, entries + 1):
        told = {"entry": {**entry, "entry_id": number, **_drawn(number, entry["partition"], dice)}}
        yield json.dumps({**told, "checksum": _checksum(told)}) + "\n"


def _partition(place: int, first: str) -> str:
    """The one that was asked in, and as many others as there are entries for."""
    return base64.b64encode(place.to_bytes(20, "big")).decode() if place else first


def _drawn(number: int, partition: str, dice: random.Random) -> dict[str, str]:
    vector = [dice.gauss(0.0, 1.0) for _ in range(DIM)]
    length = sum(each * each for each in vector) ** 0.5
    packed = struct.pack(f"<{DIM}f", *(each / length for each in vector))
    return {
        "fingerprint": base64.b64encode(number.to_bytes(20, "big")).decode(),
        "partition": _partition(number // PARTITION, partition),
        "question": f"How is question {number} answered?",
        "vector": base64.b64encode(packed).decode(),
    }


def _checksum(told: dict[str, Any]) -> str:
    """As the export's own."""
    packed = json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.blake2b(packed.encode(), digest_size=16).hexdigest()
