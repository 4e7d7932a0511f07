"""Two fronts on one port, in processes of their own: what is true of one is true of both."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sidecar.front.reply import KEY_HEADER
from tests.integration.conftest import PATIENCE_S
from tests.integration.counting import HELD, counting
from tests.integration.fronts import (
    EACH,
    MARKS,
    Answer,
    Site,
    served,
    site,
    until,
    warm,
)

pytestmark = MARKS


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One for all tests that leave it as they found it."""
    with site(tmp_path_factory.mktemp("front")) as running:
        yield running


def test_an_answer_kept_for_one_front_is_a_hit_at_the_other(shared: Site) -> None:
    """And each is accounted for, once, as any exact hit is."""
    warm(shared, "What is 3 plus 4?")
    hits = 'sidecar_requests_total{cache="hit-exact",status="200",stream="false",tier="small"}'
    until(lambda: shared.count(hits) > 0)
    before, given = shared.count(hits), served(shared)
    answers = [shared.ask("What is 3 plus 4?") for _ in range(EACH)]
    assert {answer.cache for answer in answers} == {"hit-exact"}
    assert len({answer.headers["x-sidecar-request-id"] for answer in answers}) == EACH
    assert len({json.loads(answer.body)["id"] for answer in answers}) == EACH
    until(lambda: shared.count(hits) >= before + EACH)
    assert shared.count(hits) <= before + EACH + 3
    until(lambda: served(shared) >= given + EACH)


def test_a_stream_of_a_kept_answer_is_what_the_owner_would_send(shared: Site) -> None:
    """The same words, the same end, the same summary but for what is new each time."""
    question = "What is 5 plus 8?"
    shared.ask(question, stream=True)
    owners = shared.ask(question, stream=True)
    fronts = shared.ask(question, stream=True)
    assert owners.cache == fronts.cache == "hit-exact"
    assert fronts.headers["content-type"] == owners.headers["content-type"]
    assert _words(fronts) == _words(owners)
    assert fronts.body.endswith(b"data: [DONE]\n\n")
    one, other = (_summary(each) for each in (owners, fronts))
    assert other.pop("request_id") == fronts.headers["x-sidecar-request-id"]
    one.pop("request_id")
    for each in (one, other):
        each.pop("overhead_ms")
    assert one == other


def _events(answer: Answer) -> list[dict[str, Any]]:
    lines = answer.body.decode().split("\n\n")
    return [json.loads(line[6:]) for line in lines if line.startswith("data: {")]


def _words(answer: Answer) -> str:
    deltas = [event["choices"][0]["delta"] for event in _events(answer)]
    return "".join(delta.get("content") or "" for delta in deltas)


def _summary(answer: Answer) -> dict[str, Any]:
    told: dict[str, Any] = _events(answer)[-1]["sidecar"]
    return told


def test_an_invalidation_holds_at_every_front_at_once(shared: Site) -> None:
    """The very next request of each is a miss."""
    question = "What is 6 plus 9?"
    warm(shared, question, {"x-sidecar-tags": "six"})
    shared.operate(
        "POST", "/admin/cache/invalidate", {"by": "tag", "value": "six", "dry_run": False}
    )
    assert shared.ask(question, {"x-sidecar-tags": "six"}).cache == "miss"


def test_a_kill_switch_holds_at_every_front_at_once(shared: Site) -> None:
    """And is over when it is lifted."""
    question = "What is 7 plus 9?"
    warm(shared, question)
    told = {"switch": "cache-off", "expires_in_s": 600, "reason": "a test"}
    shared.operate("POST", "/admin/overrides", told)
    try:
        answers = Counter(shared.ask(question).cache for _ in range(EACH))
        assert answers == {"bypass": EACH}
    finally:
        shared.operate("DELETE", "/admin/overrides?switch=cache-off")
    assert {shared.ask(question).cache for _ in range(EACH)} == {"hit-exact"}


def test_a_bad_label_for_what_a_front_gave_takes_the_entry_away(shared: Site) -> None:
    """The owner knows of the request, and no front gives that answer any more."""
    question = "What is 8 plus 9?"
    warm(shared, question)
    given = shared.ask(question)
    told = {"request_id": given.headers["x-sidecar-request-id"], "label": "bad"}

    def is_quarantined() -> bool:
        shared.post("/v1/feedback", told)  # it is heeded once the owner knows of the request
        return shared.count("sidecar_cache_quarantined_total") > 0

    until(is_quarantined)
    assert shared.ask(question).cache == "miss"


def test_what_is_to_be_decided_anew_is_asked_of_the_owner_each_time(shared: Site) -> None:
    """Cache directives and debug headers; no page may ask, at no front."""
    question = "What is 9 plus 9?"
    warm(shared, question)
    aged = [shared.ask(question, {"cache-control": "max-age=0"}).cache for _ in range(3)]
    assert aged == ["miss"] * 3
    debug = [shared.ask(question, {"x-sidecar-debug": "1"}) for _ in range(3)]
    assert all("server-timing" in answer.headers for answer in debug)
    pages = {shared.ask(question, {"origin": "http://x"}).status for _ in range(EACH)}
    assert pages == {403}


def test_errors_come_through_as_the_owner_says_them(shared: Site) -> None:
    """Status, shape and request id."""
    unknown = shared.ask("What?", model="nobody")
    assert unknown.status == 404
    assert json.loads(unknown.body)["error"]["code"] == "model_not_found"
    assert shared.post("/v1/nowhere", {}).status == 404
    packed = shared.ask("What?", {"content-encoding": "gzip"})
    assert packed.status == 415


def test_a_body_too_long_to_look_up_is_sent_on_as_it_comes(shared: Site) -> None:
    """And answered as any other is."""
    answer = shared.ask("What is 1 plus 1? " + "x" * 100_000)
    assert answer.status == 200
    too_long = shared.ask("x" * (17 * 1024 * 1024))
    assert too_long.status == 413


def test_no_caller_speaks_as_a_front(shared: Site) -> None:
    """The header in which a front tells a key is the front's alone, where it sends none, too."""
    question = "What is 6 plus 7?"
    warm(shared, question)
    body = {"model": "small", "messages": [{"role": "user", "content": question}]}
    for claimed in ("no hex", "00" * 16):
        connection = http.client.HTTPConnection("127.0.0.1", shared.port, timeout=PATIENCE_S)
        with contextlib.closing(connection):
            told = {"content-type": "application/json", KEY_HEADER: claimed}
            # Of unknown length, so that the front sends it on as it comes, without a key.
            pieces = iter([json.dumps(body).encode()])
            connection.request("POST", "/v1/chat/completions", pieces, told, encode_chunked=True)
            response = connection.getresponse()
            assert response.status == 200
            assert response.headers["x-sidecar-cache"] == "hit-exact"
            assert b"choices" in response.read()


def test_a_front_that_dies_is_started_again(shared: Site) -> None:
    """Its callers meet the other one, or wait a moment; the owner counts it."""
    question = "What is 2 plus 9?"
    warm(shared, question)
    before = shared.count("sidecar_worker_restarts_total")
    killed = shared.fronts()[0]
    os.kill(killed, signal.SIGKILL)
    until(lambda: killed not in shared.fronts() and len(shared.fronts()) == 2)
    answers = {shared.ask(question).cache for _ in range(EACH)}
    assert answers == {"hit-exact"}
    until(lambda: shared.count("sidecar_workers") == 2.0)
    assert shared.count("sidecar_worker_restarts_total") == before + 1


LIMITED = """
[[tenants]]
name = "few"
keys = ["few-key"]
requests_per_minute = 5

[[tenants]]
name = "many"
keys = ["many-key"]
"""


def test_rates_are_not_multiplied_and_a_reload_reaches_every_front(tmp_path: Path) -> None:
    """Five a minute are five, hits included; a key that is taken back opens nothing."""
    few, many = {"authorization": "Bearer few-key"}, {"authorization": "Bearer many-key"}
    with site(tmp_path, LIMITED) as running:
        begun_s = time.monotonic()
        statuses = Counter(running.ask("What is 4 plus 4?", few).status for _ in range(EACH))
        given_back = int((time.monotonic() - begun_s) * 5 / 60)  # to who is slow
        assert set(statuses) <= {200, 429}
        assert 5 <= statuses[200] <= 5 + given_back
        warm(running, "What is 4 plus 5?", many)
        told = running.config.read_text()
        running.config.write_text(told.replace("many-key", "other-key"))
        running.process.send_signal(signal.SIGHUP)
        until(lambda: running.ask("What is 4 plus 5?", many).status == 401)
        assert {running.ask("What is 4 plus 5?", many).status for _ in range(EACH)} == {401}


def test_sigterm_lets_what_is_begun_end(tmp_path: Path) -> None:
    """A request that is under way is answered, the port is closed, all processes end."""
    with counting() as vendor, site(tmp_path, tiers=vendor.tiers) as running:
        fronts = running.fronts()
        connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=PATIENCE_S)
        with contextlib.closing(connection):
            body = {"model": "small", "messages": [{"role": "user", "content": f"{HELD} on"}]}
            connection.request(
                "POST",
                "/v1/chat/completions",
                json.dumps(body),
                {"content-type": "application/json"},
            )
            until(lambda: vendor.last == 1)
            running.process.terminate()
            until(lambda: _refuses(running.port))
            vendor.go.set()
            response = connection.getresponse()
            assert response.status == 200
            assert json.loads(response.read())["object"] == "chat.completion"
        assert running.process.wait(PATIENCE_S) == 0
        until(lambda: not any(Path(f"/proc/{front}").exists() for front in fronts))
        assert _refuses(running.port)


def _refuses(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return True
    return False


def test_no_front_outlives_its_owner(tmp_path: Path) -> None:
    """Not one that is killed, either."""
    with site(tmp_path) as running:
        fronts = running.fronts()
        assert len(fronts) == 2
        running.process.kill()
        running.process.wait(PATIENCE_S)
        until(lambda: not any(Path(f"/proc/{front}").exists() for front in fronts))
