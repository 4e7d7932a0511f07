"""The review queue: what waits, in which order, what leaves, and what a restart leaves of it."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from sidecar.disk.sealing import AesGcm
from sidecar.oversight.reviewing import FILE, Reviewing
from sidecar.oversight.reviews import Review, ReviewConfig, Reviews, Why
from sidecar.traffic.record import FeedbackRecord
from sidecar.traffic.redaction import Redaction

DAY_S = 86_400.0


def item(name: str, why: Why = "sampled", tenant: str = "t", at: float = 0.0) -> Review:
    return Review(
        request_id=name,
        tenant=tenant,
        at=at,
        why=why,
        question="What is 3 plus 4?",
        answer="8",
        tier="small",
        model="m",
        router="v",
        confidence=0.2,
    )


class FakeMeter:
    """Counts."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def noticed(self, why: str) -> None:
        self.told.append(why)

    def reviewed(self, score: float | None) -> None:
        self.told.append(score)


def owner(path: Path | None, cipher: AesGcm | None = None) -> Reviewing:
    return Reviewing(
        config=ReviewConfig(),
        path=path,
        cipher=cipher,
        redaction=Redaction(()),
        dice=lambda: 1.0,
        clock=lambda: 100.0,
        meter=FakeMeter(),
        logger=logging.getLogger("test"),
    )


def test_the_weightiest_comes_first_and_then_the_latest() -> None:
    """A complaint before another tier's word, that before doubt, that before what was drawn."""
    reviews = Reviews(ReviewConfig())
    for place, why in enumerate(("sampled", "unsure", "complaint", "differs", "unsure")):
        reviews.put(item(str(place), why, at=float(place)))  # type: ignore[arg-type] # as listed
    assert [each.request_id for each in reviews.waiting(0.0)] == ["2", "3", "4", "1", "0"]
    assert [each.request_id for each in reviews.waiting(0.0, why="unsure")] == ["4", "1"]


def test_an_answer_waits_once_for_its_weightiest_reason() -> None:
    """Whatever is found later, and in whichever order; a comment stays."""
    reviews = Reviews(ReviewConfig())
    assert reviews.put(replace(item("a", "complaint"), comment="wrong"))
    assert not reviews.put(item("a", "differs"))
    (kept,) = reviews.waiting(0.0)
    assert (kept.why, kept.comment) == ("complaint", "wrong")


def test_a_full_queue_lets_go_of_what_can_be_spared() -> None:
    """Of the tenant with the most; who holds little keeps it, and a complaint outlives doubt."""
    reviews = Reviews(ReviewConfig(max_items=3))
    reviews.put(item("other", tenant="u"))
    reviews.put(item("bad", "complaint"))
    reviews.put(item("unsure", "unsure"))
    reviews.put(item("new", "differs"))
    assert {each.request_id for each in reviews.waiting(0.0)} == {"other", "bad", "new"}


def test_what_nobody_looked_at_leaves_in_time() -> None:
    """A week later it is worth nobody's time."""
    reviews = Reviews(ReviewConfig())
    reviews.put(item("old", at=0.0))
    reviews.put(item("new", at=5 * DAY_S))
    assert [each.request_id for each in reviews.waiting(7.5 * DAY_S)] == ["new"]
    assert len(reviews) == 1


@pytest.mark.parametrize("key", [None, "ab" * 32], ids=["plain", "sealed"])
async def test_the_queue_outlives_a_restart(tmp_path: Path, key: str | None) -> None:
    """Read by the owner alone, and sealed where the log is; then no text of it lies open."""
    cipher = AesGcm(key) if key else None
    first = owner(tmp_path / FILE, cipher)
    await first.start()
    first._queue(item("a"), "complaint", "no good")
    await first.close()
    path = tmp_path / FILE
    assert path.stat().st_mode & 0o777 == 0o600
    assert (b"3 plus 4" in path.read_bytes()) is (cipher is None)
    second = owner(path, cipher)
    await second.start()
    assert [(each.request_id, each.comment) for each in second.waiting()] == [("a", "no good")]
    await second.close()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"{", id="no JSON"),
        pytest.param(orjson.dumps({"schema": 9}), id="another schema"),
        pytest.param(orjson.dumps({"schema": 1, "reviews": [{"why": 1}]}), id="no review"),
    ],
)
async def test_a_file_that_cannot_be_read_is_put_aside(tmp_path: Path, content: bytes) -> None:
    """The queue begins empty, and what stood there is not overwritten."""
    path = tmp_path / FILE
    path.write_bytes(content)
    reviewing = owner(path)
    await reviewing.start()
    assert reviewing.waiting() == []
    await reviewing.close()
    assert path.with_suffix(".foreign").read_bytes() == content


async def test_a_verdict_ends_the_waiting_of_its_own_tenants_answer() -> None:
    """Ids are a tenant's own: another's verdict moves nothing."""
    reviewing = owner(None)
    reviewing._queue(item("a"), "unsure")
    verdict = FeedbackRecord(request_id="a", at=1.0, tenant="u", score=1.0, source="review")
    reviewing.feedback(verdict)
    assert len(reviewing) == 1
    reviewing.feedback(replace(verdict, tenant="t"))
    assert len(reviewing) == 0
    await reviewing.close()
