"""Fronts among strangers and accidents: kills, other tenants, other users, stale rows."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import pytest

from tests.integration.conftest import PATIENCE_S
from tests.integration.counting import WAITS, Counting, counting
from tests.integration.fronts import (
    EACH,
    MARKS,
    TOKEN,
    Answer,
    Site,
    served,
    site,
    until,
)

pytestmark = MARKS

TENANTS = """
[cache.lookup]
budget_s = 30.0

[[tenants]]
name = "one"
keys = ["key-of-one"]

[[tenants]]
name = "two"
keys = ["key-of-two"]
"""
ONE, TWO = {"authorization": "Bearer key-of-one"}, {"authorization": "Bearer key-of-two"}
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer key-of-one\r\n"
BODY = b'{"model":"small","messages":[{"role":"user","content":"What is said twice?"}]}'
LENGTH = b"Content-Length: %d\r\n" % len(BODY)
ASKERS = 4
ROUNDS = 8


@pytest.fixture
def vendor() -> Iterator[Counting]:
    """Its answers tell when they were made."""
    with counting() as running:
        yield running


@contextlib.contextmanager
def begun(running: Site, question: str) -> Iterator[http.client.HTTPResponse]:
    """A stream whose first words have come."""
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=PATIENCE_S)
    with contextlib.closing(connection):
        turns = [{"role": "user", "content": question}]
        body = json.dumps({"model": "small", "stream": True, "messages": turns})
        told = {"content-type": "application/json", **ONE}
        connection.request("POST", "/v1/chat/completions", body, told)
        response = connection.getresponse()
        assert b"Answer" in response.readline()
        yield response


def end_of(response: http.client.HTTPResponse) -> bytes:
    """What comes after the first words; nothing that breaks off passes for an end."""
    with pytest.raises((http.client.IncompleteRead, ConnectionError)) as broken:
        response.read()
    fault = broken.value
    return fault.partial if isinstance(fault, http.client.IncompleteRead) else b""


def test_a_front_that_is_killed_in_an_answer_costs_that_answer_alone(
    tmp_path: Path, vendor: Counting
) -> None:
    """The stream breaks off, its place is free, the vendor is not left talking; others come in."""
    with site(tmp_path, TENANTS, vendor.tiers) as running:
        with begun(running, f"{WAITS} for it") as response:
            for front in running.fronts():
                os.kill(front, signal.SIGKILL)
            assert b"[DONE]" not in end_of(response)
        until(lambda: running.count("sidecar_in_flight") == 0 and vendor.left == 1)
        assert {running.ask("What is new?", ONE).status for _ in range(EACH)} == {200}
        assert running.count("sidecar_worker_restarts_total") == 2


def test_an_owner_that_is_killed_in_an_answer_leaves_nobody_waiting(
    tmp_path: Path, vendor: Counting
) -> None:
    """The stream breaks off and is no whole one; the fronts end, and the port with them."""
    with site(tmp_path, TENANTS, vendor.tiers) as running:
        fronts = running.fronts()
        with begun(running, f"{WAITS} for it") as response:
            running.process.kill()
            assert b"[DONE]" not in end_of(response)
        running.process.wait(PATIENCE_S)
        until(lambda: not any(Path(f"/proc/{front}").exists() for front in fronts))
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.1", running.port)).close()


@dataclass(slots=True)
class Askers:
    """Threads that ask one question all the time; each answer with the instant it was asked."""

    running: Site
    heard: list[tuple[float, Answer]] = field(default_factory=list)
    _is_over: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._threads = [threading.Thread(target=self._ask_on) for _ in range(ASKERS)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def _ask_on(self) -> None:
        while not self._is_over.is_set():
            asked_s = time.monotonic()
            answer = self.running.ask("What is asked all the time?", {**ONE, "x-sidecar-tags": "t"})
            self.heard.append((asked_s, answer))

    def since(self, instant_s: float) -> list[Answer]:
        """What was asked after that, and is answered by now."""
        return [answer for asked_s, answer in list(self.heard) if asked_s > instant_s]

    def until_since(self, instant_s: float, is_so: Callable[[list[Answer]], bool]) -> list[Answer]:
        """The same, once it is so."""
        until(lambda: is_so(self.since(instant_s)))
        return self.since(instant_s)


def _number(answer: Answer) -> int:
    found = re.search(rb"Answer (\d+)\.", answer.body)
    assert found is not None, answer
    return int(found[1])


def _has_hits(answers: list[Answer]) -> bool:
    return sum(answer.cache == "hit-exact" for answer in answers) >= EACH


def test_no_front_gives_what_was_invalidated_however_many_ask(
    tmp_path: Path, vendor: Counting
) -> None:
    """Whoever asks after an invalidation has returned hears of a later answer, each time."""
    with site(tmp_path, TENANTS, vendor.tiers) as running, Askers(running) as askers:
        asked_s = 0.0
        for _ in range(ROUNDS):
            askers.until_since(asked_s, _has_hits)
            known = vendor.last
            told = {"by": "tag", "value": "t", "dry_run": False}
            running.operate("POST", "/admin/cache/invalidate", told)
            asked_s = time.monotonic()
            later = askers.until_since(asked_s, _has_hits)
            assert min(map(_number, later)) > known
        assert served(running) > 0


def test_a_switch_holds_at_every_front_however_many_ask(tmp_path: Path, vendor: Counting) -> None:
    """Whoever asks once it is set gets nothing from the cache, and does again once it is lifted."""
    with site(tmp_path, TENANTS, vendor.tiers) as running, Askers(running) as askers:
        asked_s = 0.0
        for _ in range(ROUNDS // 2):
            askers.until_since(asked_s, _has_hits)
            told = {"switch": "cache-off", "expires_in_s": 600, "reason": "a test"}
            running.operate("POST", "/admin/overrides", told)
            asked_s = time.monotonic()
            off = askers.until_since(asked_s, lambda heard: len(heard) >= EACH)
            assert {answer.cache for answer in off} == {"bypass"}
            running.operate("DELETE", "/admin/overrides?switch=cache-off")
            asked_s = time.monotonic()
        assert served(running) > 0


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One for tests that leave it as they found it; its vendor counts."""
    with (
        counting() as running,
        site(tmp_path_factory.mktemp("faults"), TENANTS, running.tiers) as up,
    ):
        yield up


def test_no_front_gives_one_tenants_answer_to_another(shared: Site) -> None:
    """The same bytes with another key are another question at each; a wrong key opens nothing."""
    question = "What do both ask?"
    mine = {_number(shared.ask(question, ONE)) for _ in range(EACH)}
    yours = {_number(shared.ask(question, TWO)) for _ in range(EACH)}
    assert len(mine) == len(yours) == 1
    assert mine.isdisjoint(yours)
    assert {shared.ask(question, {"authorization": "Bearer x"}).status for _ in range(EACH)} == {
        401
    }


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(HEAD + b"Content-Length: 5\r\n" + LENGTH + b"\r\n" + BODY, id="two-lengths"),
        pytest.param(
            HEAD + LENGTH + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", id="length-and-chunks"
        ),
        pytest.param(HEAD + b"X-A: 1\r\n folded\r\n" + LENGTH + b"\r\n" + BODY, id="folded"),
        pytest.param(HEAD + b"Host: y\r\n" + LENGTH + b"\r\n" + BODY, id="two-hosts"),
        pytest.param(
            HEAD + b"Authorization: Bearer key-of-two\r\n" + LENGTH + b"\r\n" + BODY, id="two-keys"
        ),
        pytest.param(
            HEAD
            + b"X-Sidecar-Namespace: a\r\nx-sidecar-namespace: b\r\n"
            + LENGTH
            + b"\r\n"
            + BODY,
            id="two-namespaces",
        ),
        pytest.param(
            HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
            id="two-codings",
        ),
    ],
)
def test_no_front_reads_what_two_readers_would_read_in_two_ways(shared: Site, raw: bytes) -> None:
    """Neither from its table nor by asking the owner: 400, also where the plain one is a hit."""
    plain = HEAD + LENGTH + b"\r\n" + BODY
    assert {_talk(shared, plain)[8:12] for _ in range(3)} == {b" 200"}
    assert {_talk(shared, raw)[8:12] for _ in range(EACH)} == {b" 400"}


def test_what_follows_a_hit_on_its_connection_is_read_where_it_begins(shared: Site) -> None:
    """Two requests in one packet are two, whoever answers the first: no byte is another's."""
    plain = HEAD + LENGTH + b"\r\n" + BODY
    models = b"GET /v1/models HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer key-of-one\r\n"
    last = models + b"Connection: close\r\n\r\n"
    for _ in range(EACH):
        heard = _talk(shared, plain + plain + last)
        assert heard.count(b"HTTP/1.1 200") == 3
        assert heard.count(b'"object":"list"') == 1


def _talk(running: Site, raw: bytes) -> bytes:
    """All that comes until the connection is closed, or a whole answer of a known length."""
    with socket.create_connection(("127.0.0.1", running.port), timeout=PATIENCE_S) as line:
        line.sendall(raw)
        heard = b""
        while some := line.recv(65_536):
            heard += some
            head, _, body = heard.partition(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
            if b"onnection: close" not in raw and length and len(body) >= int(length[1]):
                break
        return heard


def handles_of(process: int) -> Iterator[str]:
    for handle in Path(f"/proc/{process}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # it was closed since
            yield str(handle.readlink())


def test_nobody_else_may_speak_as_a_front_or_as_the_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, vendor: Counting
) -> None:
    """Sockets lie where their owner alone may enter, and go with him; fronts hold no file."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    state = tmp_path / "state"
    state.mkdir()
    more = f'[traffic]\ndir = "{state}"\n[cache.disk]\npath = "{state / "cache"}"\n'
    with site(state, more + TENANTS, vendor.tiers) as running:
        running.ask("What is kept?", ONE)
        (folder,) = tmp_path.glob("sidecar-*")
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert {each.name for each in folder.iterdir()} == {"plane", "control"}
        for front in running.fronts():
            told = Path(f"/proc/{front}/cmdline").read_bytes()
            assert TOKEN.encode() not in told
            assert b"key-of-one" not in told
            handles = list(handles_of(front))
            assert [handle for handle in handles if str(state) in handle] == []
            assert any("memfd:sidecar-front" in handle for handle in handles)
    assert not folder.exists()
