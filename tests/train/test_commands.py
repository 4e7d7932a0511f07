"""The command line: what is refused is refused in one clear line."""

from __future__ import annotations

from pathlib import Path

import msgpack
import pyarrow.parquet as pq
import pytest

from sidecar.disk.sealing import AesGcm
from sidecar.traffic.reader import place
from sidecar.traffic.record import AttemptRecord, FeedbackRecord, Record, RequestRecord, to_map
from train.__main__ import VERBS, main


def test_every_verb_of_the_contract_is_listed_with_its_help(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Whoever asks what there is hears of each verb, and of no other."""
    assert main(["--help"]) == 0
    said = capsys.readouterr().out
    assert all(verb in said for verb in VERBS)
    assert main(["telepathy"]) == 2


def test_faults_are_one_line_and_exit_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No trace for what the caller can mend."""
    out = str(tmp_path / "log.csv")
    assert main(["export-log", "--traffic", str(tmp_path), "--out", out]) == 2
    assert main(["export-log", "--traffic", str(tmp_path / "no"), "--out", out[:-3] + "jsonl"]) == 2
    assert capsys.readouterr().err.count("\n") == 2


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_log_is_exported_whole(ending: str, tmp_path: Path) -> None:
    """Every record comes out, requests and feedback alike."""
    attempt = AttemptRecord(tier="small", model="m", upstream="u", outcome="answered")
    records: list[Record] = [
        RequestRecord(request_id="1", at=1.0, tenant="t", attempts=(attempt,), tags=("a",)),
        FeedbackRecord(request_id="1", at=2.0, tenant="t", score=1.0),
    ]
    packed = b"".join(msgpack.packb(to_map(record)) for record in records)
    (tmp_path / "1.msgpack").write_bytes(packed + b"\x85torn")
    out = tmp_path / f"log.{ending}"
    assert main(["export-log", "--traffic", str(tmp_path), "--out", str(out), "--json"]) == 0
    if ending == "parquet":
        table = pq.read_table(out).to_pylist()
        assert [row["kind"] for row in table] == ["request", "feedback"]
        assert table[0]["tags"] == ["a"]
    else:
        assert len(out.read_text().splitlines()) == 2


def test_a_sealed_log_is_exported_with_its_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key comes from the environment; a missing or a wrong one is said, and nothing written."""
    log, out = tmp_path / "log", tmp_path / "out.jsonl"
    log.mkdir()
    path = log / "1.msgpack"
    sealed = AesGcm("00" * 32).seal(
        msgpack.packb(to_map(RequestRecord(request_id="1", at=1.0, tenant="t"))), place(path, 0)
    )
    path.write_bytes(msgpack.packb(sealed))
    words = ["export-log", "--traffic", str(log), "--out", str(out)]
    monkeypatch.setenv("RIGHT", "00" * 32)
    monkeypatch.setenv("WRONG", "11" * 32)
    for key in ([], ["env:WRONG"], ["env:NOT_SET"], ["00" * 32]):
        assert main([*words, *(["--traffic-key", *key] if key else [])]) == 2
    assert main([*words, "--traffic-key", "env:RIGHT"]) == 0
    assert len(out.read_text().splitlines()) == 1
