"""The log: complete, rotated, redacted, and never in anybody's way."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from sidecar.disk.sealing import AesGcm
from sidecar.errors import TrafficError
from sidecar.traffic.reader import log_files, read_folder
from sidecar.traffic.record import (
    AgainRecord,
    AttemptRecord,
    FeedbackRecord,
    Pattern,
    Record,
    RequestRecord,
)
from sidecar.traffic.writer import TrafficConfig, TrafficWriter


class FakeHook:
    """Counts what was dropped, by reason."""

    def __init__(self) -> None:
        self.dropped: list[str] = []

    def dropped_record(self, reason: str) -> None:
        self.dropped.append(reason)


def request(number: int, question: str = "q") -> RequestRecord:
    attempt = AttemptRecord(
        tier="small", model="m", upstream="u", outcome="answered", answer=f"mail {question}"
    )
    return RequestRecord(
        request_id=str(number),
        at=0.0,
        tenant="t",
        question=question,
        attempts=(attempt,),
        parameters={"tools": [{"note": question}], "n": 1},
        vector=b"12",
    )


def write(
    folder: Path, records: Sequence[Record | AgainRecord], dice: float = 0.0, **fields: object
) -> FakeHook:
    hook = FakeHook()
    config = TrafficConfig(dir=str(folder), **fields)  # type: ignore[arg-type]
    writer = TrafficWriter(config, hook, lambda: dice)
    writer.start()
    for record in records:
        writer.put(record)
    writer.close()
    return hook


@pytest.mark.parametrize("odd", ["\ud800", 2**70, object()], ids=["surrogate", "long", "object"])
def test_a_record_that_has_no_bytes_costs_itself_alone(tmp_path: Path, odd: object) -> None:
    """It is dropped and counted; what comes after it is written."""
    bad = replace(request(1), parameters={"odd": odd})
    hook = write(tmp_path, [request(0), bad, request(2)])
    assert [r.request_id for r in read_folder(tmp_path)] == ["0", "2"]
    assert hook.dropped == ["odd"]


def test_what_was_put_is_there_after_close(tmp_path: Path) -> None:
    """Closing writes what waits, in order."""
    records: list[RequestRecord | FeedbackRecord] = [request(n) for n in range(100)]
    write(tmp_path, records)
    assert [r.request_id for r in read_folder(tmp_path)] == [str(n) for n in range(100)]


def test_only_the_owner_may_read_it(tmp_path: Path) -> None:
    """What users ask is nobody else's business."""
    write(tmp_path, [request(1)])
    assert stat.S_IMODE(log_files(tmp_path)[0].stat().st_mode) == 0o600


def test_a_full_file_is_followed_by_another(tmp_path: Path) -> None:
    """No file grows without bound, and none loses a record."""
    write(tmp_path, [request(n) for n in range(50)], rotate_bytes=2000)
    assert len(log_files(tmp_path)) > 3
    assert sum(1 for _ in read_folder(tmp_path)) == 50


def test_what_waits_is_written_in_pieces_and_read_whole(tmp_path: Path) -> None:
    """However much there is at once; a file ends where it is full all the same."""
    long = [request(n, "q" * 100_000) for n in range(30)]
    write(tmp_path, long, rotate_bytes=3_000_000)
    sizes = [path.stat().st_size for path in log_files(tmp_path)]
    assert len(sizes) > 2
    assert all(size < 3_000_000 + 400_000 for size in sizes)
    assert [record.request_id for record in read_folder(tmp_path)] == [str(n) for n in range(30)]


def test_the_oldest_files_leave_before_all_are_too_many(tmp_path: Path) -> None:
    """However long it runs, the log takes no more of the disk than it may."""
    write(tmp_path, [request(n) for n in range(200)], rotate_bytes=2000, max_bytes=10_000)
    # The file that fills it ends with a whole record.
    assert sum(path.stat().st_size for path in log_files(tmp_path)) < 10_000 + 1_000
    kept = [record.request_id for record in read_folder(tmp_path)]
    assert kept == [str(n) for n in range(200 - len(kept), 200)]
    assert kept


def test_sampling_leaves_requests_out_and_feedback_in(tmp_path: Path) -> None:
    """Labels are too rare to be sampled away."""
    feedback = FeedbackRecord(request_id="1", at=0.0, tenant="t", score=1.0)
    write(tmp_path, [request(1), feedback], dice=0.7, sample=0.5)
    assert list(read_folder(tmp_path)) == [feedback]


@pytest.mark.parametrize(
    ("redact", "told"),
    [
        pytest.param(("email",), "ask [email] now", id="by-name"),
        pytest.param((r"b\w+@",), "ask [redacted]example.org now", id="by-pattern"),
        pytest.param(("all",), "", id="all"),
    ],
)
def test_redaction_covers_every_text(tmp_path: Path, redact: tuple[str, ...], told: str) -> None:
    """Question, answers and parameters alike."""
    write(tmp_path, [request(1, "ask bob@example.org now")], redact=redact)
    (record,) = read_folder(tmp_path)
    assert isinstance(record, RequestRecord)
    assert record.question == told
    assert "bob" not in str(record)
    assert (record.vector == b"") == (redact == ("all",))


def test_a_folder_that_cannot_be_written_costs_records_and_nothing_else(tmp_path: Path) -> None:
    """The log degrades; the service goes on."""
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    hook = write(blocked, [request(1), request(2)])
    assert hook.dropped
    assert set(hook.dropped) == {"disk"}


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"sample": 2.0}, id="sample"),
        pytest.param({"redact": ("(",)}, id="pattern"),
        pytest.param({"key": "00" * 31}, id="key"),
        pytest.param({"keep_days": 0.0}, id="days"),
        pytest.param({"max_bytes": 2**20}, id="bytes"),
    ],
)
def test_a_config_out_of_range_is_refused(fields: dict[str, object]) -> None:
    """Before the first record, not at it."""
    with pytest.raises(ValueError, match=r"\w"):
        TrafficConfig(**fields)  # type: ignore[arg-type]


KEY = "00" * 32


def test_a_sealed_log_is_read_with_its_key_and_no_other(tmp_path: Path) -> None:
    """What was asked stands nowhere in it; without the key the reader says so, and no more."""
    write(tmp_path, [request(n, "canary") for n in range(20)], key=KEY, rotate_bytes=1000)
    write(tmp_path, [request(20, "plain")])
    *sealed, _ = log_files(tmp_path)
    assert len(sealed) > 1
    assert not any(b"canary" in path.read_bytes() for path in sealed)
    told = list(read_folder(tmp_path, AesGcm(KEY)))
    assert [record.request_id for record in told] == [str(n) for n in range(21)]
    for cipher in (None, AesGcm("11" * 32)):
        with pytest.raises(TrafficError, match="sealed with"):
            list(read_folder(tmp_path, cipher))


def test_a_sealed_record_does_not_open_elsewhere(tmp_path: Path) -> None:
    """Nobody exchanges two files, or cuts the first records off one."""
    write(tmp_path, [request(1), request(2)], key=KEY)
    (path,) = log_files(tmp_path)
    path.rename(tmp_path / f"other{path.suffix}")
    with pytest.raises(TrafficError, match="another key"):
        list(read_folder(tmp_path, AesGcm(KEY)))


@pytest.mark.parametrize("redact", [(), ("email",), ("all",)], ids=["open", "covered", "dropped"])
def test_what_is_answered_again_is_written_as_if_it_were_new(
    tmp_path: Path, redact: tuple[str, ...]
) -> None:
    """A record of a pattern reads back as the whole record would, texts covered as configured."""
    pattern = Pattern(request(1, "who is ada@example.com?"))
    again = [AgainRecord(pattern, f"req-{n}", 10.0 + n, 0.5 + n, 0.25) for n in range(3)]
    write(tmp_path / "again", again, redact=redact)
    write(tmp_path / "whole", [each.whole() for each in again], redact=redact)
    assert list(read_folder(tmp_path / "again")) == list(read_folder(tmp_path / "whole"))
