"""A record survives the way to the file and back, and nothing else does."""

from __future__ import annotations

from pathlib import Path

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.errors import TrafficError
from sidecar.traffic.reader import read_file, read_folder
from sidecar.traffic.record import (
    AttemptRecord,
    FeedbackRecord,
    RequestRecord,
    from_map,
    packed_vector,
    to_map,
    unpacked_vector,
)

TEXT = st.text(max_size=40)
ATTEMPTS = st.builds(AttemptRecord, tier=TEXT, model=TEXT, upstream=TEXT, outcome=TEXT, answer=TEXT)
REQUESTS = st.builds(
    RequestRecord,
    request_id=TEXT,
    at=st.floats(0, 2e9),
    tenant=TEXT,
    question=TEXT,
    vector=st.binary(max_size=16),
    attempts=st.lists(ATTEMPTS, max_size=3).map(tuple),
    tags=st.lists(TEXT, max_size=3).map(tuple),
    probabilities=st.none() | st.dictionaries(TEXT, st.floats(0, 1), max_size=3),
)
FEEDBACK = st.builds(
    FeedbackRecord,
    request_id=TEXT,
    at=st.floats(0, 2e9),
    tenant=TEXT,
    score=st.none() | st.floats(0, 1),
)


@given(REQUESTS | FEEDBACK)
def test_read_of_write_is_the_record(record: RequestRecord | FeedbackRecord) -> None:
    """read(write(r)) == r."""
    assert from_map(msgpack.unpackb(msgpack.packb(to_map(record)), raw=False)) == record


def test_a_later_versions_key_is_passed_over() -> None:
    """An old reader reads a new log."""
    record = FeedbackRecord(request_id="r", at=1.0, tenant="t")
    assert from_map({**to_map(record), "mood": "fine"}) == record


@pytest.mark.parametrize(
    "values",
    [
        pytest.param({}, id="empty"),
        pytest.param({"kind": "request", "schema": 99}, id="unknown-schema"),
        pytest.param({"kind": "gossip", "schema": 1}, id="unknown-kind"),
        pytest.param({"kind": "request", "schema": 1}, id="fields-missing"),
    ],
)
def test_what_is_no_record_is_refused(values: dict[str, object]) -> None:
    """A log of another make is not half understood."""
    with pytest.raises(TrafficError):
        from_map(values)


def test_a_vector_keeps_its_direction_in_half_the_bytes() -> None:
    """float16 is enough to train on."""
    vector = np.random.default_rng(0).normal(size=384).astype(np.float32)
    vector /= np.linalg.norm(vector)
    data = packed_vector(vector)
    unpacked = unpacked_vector(data)
    assert len(data) == 768
    assert unpacked is not None
    assert float(unpacked @ vector) > 1 - 1e-5
    assert unpacked_vector(packed_vector(None)) is None


@given(cut=st.integers(1, 200))
def test_a_torn_tail_ends_the_file_quietly(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    """What stands before the tear is read, whatever the tear."""
    records = [FeedbackRecord(request_id=str(n), at=float(n), tenant="t") for n in range(5)]
    packed = [msgpack.packb(to_map(record)) for record in records]
    data = b"".join(packed)[: -min(cut, len(packed[-1]) - 1)]
    path = tmp_path_factory.mktemp("log") / "0.msgpack"
    path.write_bytes(data)
    assert list(read_file(path)) == records[:4]


def test_files_are_read_oldest_first(tmp_path: Path) -> None:
    """Feedback follows its request."""
    for name in ("2", "1"):
        record = FeedbackRecord(request_id=name, at=0.0, tenant="t")
        (tmp_path / f"{name}.msgpack").write_bytes(msgpack.packb(to_map(record)))
    told = [r.request_id for r in read_folder(tmp_path)]
    assert told == ["1", "2"]


def test_no_folder_is_told(tmp_path: Path) -> None:
    """A typing error in a path is not an empty log."""
    with pytest.raises(TrafficError):
        list(read_folder(tmp_path / "absent"))
