"""`python -m sidecar cache`: answers moved from one disk store to another, and faults told."""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import pytest

from cache.epochs import Mark, Selector
from cache.stores.disk import DiskStore
from sidecar.__main__ import main
from sidecar.commands import DONE, FAILED, add_arguments
from tests.cache.stores.test_disk import entry

FOREVER_AT = 4e9


def written(path: Path, *numbers: int, encoder_id: str = "encoder-a") -> Path:
    store = DiskStore.open(path, encoder_id)
    made = [replace(entry(number), expires_at=FOREVER_AT) for number in numbers]
    store.write(made, [], [Mark(Selector("tag", "x"), 5, 1.0)])
    store.close()
    return path


def moved(verb: str, disk: Path, file: Path) -> int:
    return main(["cache", verb, str(file), "--disk", str(disk)])


def test_answers_move_from_one_disk_to_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With their meaning, under new ids beside what was there, and the invalidations with them."""
    here = written(tmp_path / "here.sqlite", 1, 2, 3)
    there = written(tmp_path / "there.sqlite", 3, 9)
    file = tmp_path / "answers.jsonl"
    assert moved("export", here, file) == DONE
    assert moved("import", there, file) == DONE
    assert "2 entries kept, 1 were no newer" in capsys.readouterr().out
    store = DiskStore.open(there, "encoder-a")
    kept = list(store.load(time.time()))
    assert [one.entry_id for one in kept] == [3, 9, 10, 11]
    assert {one.fingerprint for one in kept} == {entry(n).fingerprint for n in (1, 2, 3, 9)}
    assert all(one.vector is not None for one in kept)
    assert store.marks() == [Mark(Selector("tag", "x"), 5, 1.0)]
    store.close()


def test_vectors_of_another_encoder_come_without_their_meaning(tmp_path: Path) -> None:
    """Under the encoder that serves they are found by their exact key alone."""
    file, there = tmp_path / "answers.jsonl", tmp_path / "there.sqlite"
    assert moved("export", written(tmp_path / "a.sqlite", 1, encoder_id="old"), file) == DONE
    assert moved("import", there, file) == DONE
    store = DiskStore.open(there, "new")
    (one,) = store.load(time.time())
    assert (one.vector, one.partition, one.body) == (None, None, entry(1).body)
    store.close()


def test_a_changed_file_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line, and exit status 1."""
    file, there = tmp_path / "answers.jsonl", tmp_path / "there.sqlite"
    moved("export", written(tmp_path / "a.sqlite", 1, 2), file)
    file.write_bytes(file.read_bytes().replace(b'"small"', b'"large"', 1))
    assert moved("import", there, file) == FAILED
    assert "checksum" in capsys.readouterr().err
    assert not there.exists()
    assert moved("export", tmp_path / "none.sqlite", file) == FAILED


def test_warming_nobody_fails_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each question is counted, whatever became of it."""
    file = tmp_path / "questions.txt"
    file.write_text('What is 1 plus 1?\n\n"And 2 plus 2?"\n{"messages": []}\n', "utf-8")
    assert main(["cache", "warm", str(file), "--base-url", "http://127.0.0.1:9/v1"]) == FAILED
    assert capsys.readouterr().out.startswith("asked 3: 3 failed")


def test_every_verb_has_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    """So that `--help` is enough."""
    parser = argparse.ArgumentParser()
    add_arguments(parser, Path("sidecar.toml"))
    for verb in ("warm", "export", "import"):
        with pytest.raises(SystemExit):
            parser.parse_args([verb, "--help"])
        assert "FILE" in capsys.readouterr().out
