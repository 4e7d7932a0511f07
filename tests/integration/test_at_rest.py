"""Kept answers on disk where a key is given: no word of them is there to read."""

from __future__ import annotations

import sqlite3
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from cache.stores.rows import FIELDS, checksum
from sidecar.__main__ import main
from tests.integration.conftest import DEMO, Start

KEY, OTHER = "00" * 32, "11" * 32
QUESTION, PARAPHRASE = "What is 12 plus 7?", "How much is 12 plus 7?"


def disk(folder: Path, key: str = KEY) -> str:
    return f'[cache.disk]\npath = "{folder}/cache.sqlite"\nkey = "{key}"\n'


def written(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.glob("cache.sqlite*"))


async def filled(start: Start, folder: Path, key: str = KEY) -> None:
    """A question kept and its paraphrase served, and feedback that rejects another pair."""
    async with AsyncExitStack() as until:
        sidecar = await start(DEMO, disk(folder, key), until)
        await sidecar.ask(QUESTION)
        await sidecar.settled()
        hit = await sidecar.ask(PARAPHRASE)
        assert hit.headers["x-sidecar-cache"] == "hit-semantic"
        await sidecar.ask("How many hours are in 3 days?")


async def test_no_word_of_what_was_asked_stands_on_the_disk(start: Start, tmp_path: Path) -> None:
    """Neither question nor answer, in no file; with the key both kinds of hit outlive a restart."""
    await filled(start, tmp_path)
    told = written(tmp_path)
    assert b"12 plus 7" not in told
    assert b"simulated" not in told
    plain = tmp_path / "plain"
    await filled(start, plain, key="")
    assert b"12 plus 7" in written(plain)
    again = await start(DEMO, disk(tmp_path))
    assert (await again.ask(QUESTION)).headers["x-sidecar-cache"] == "hit-exact"
    meant = await again.ask("How much is 7 plus 12?")
    assert meant.headers["x-sidecar-cache"] in {"hit-semantic", "miss"}
    assert (await again.ask(PARAPHRASE)).headers["x-sidecar-cache"] == "hit-semantic"


@pytest.mark.parametrize("key", [OTHER, ""], ids=["another", "none"])
async def test_a_file_of_another_key_is_put_aside(
    start: Start, tmp_path: Path, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    """No crash and no answer from it; the file is kept under another name, and it is said."""
    await filled(start, tmp_path)
    sidecar = await start(DEMO, disk(tmp_path, key))
    assert (await sidecar.ask(QUESTION)).headers["x-sidecar-cache"] == "miss"
    assert "put aside" in caplog.text
    assert any("unreadable" in name for name in _names(tmp_path))


async def test_an_answer_that_was_moved_to_another_row_does_not_open(
    start: Start, tmp_path: Path
) -> None:
    """Who can write the file cannot have one question answered with another one's answer."""
    await filled(start, tmp_path)
    _move_the_answer(tmp_path / "cache.sqlite")
    sidecar = await start(DEMO, disk(tmp_path))
    answer = await sidecar.ask("How many hours are in 3 days?")
    assert answer.headers["x-sidecar-cache"] == "miss"


async def test_export_and_import_take_the_key_of_the_config(start: Start, tmp_path: Path) -> None:
    """Opened on the way out, sealed again, with another key, on the way in."""
    await filled(start, tmp_path)
    out, elsewhere = tmp_path / "out.jsonl", tmp_path / "elsewhere"
    for folder, key, verb in ((tmp_path, KEY, "export"), (elsewhere, OTHER, "import")):
        config = tmp_path / f"{verb}.toml"
        _write(config, "[server]\nadmin_port = 1\n" + disk(folder, key) + DEMO)
        assert main(["cache", verb, "--config", str(config), str(out)]) == 0
    assert b"12 plus 7" not in written(elsewhere)
    moved = await start(DEMO, disk(elsewhere, OTHER))
    assert (await moved.ask(QUESTION)).headers["x-sidecar-cache"] == "hit-exact"


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def _move_the_answer(path: Path) -> None:
    """The first row's answer into the second, with a checksum that is right."""
    connection = sqlite3.connect(path)
    *_, (first_body,) = connection.execute("SELECT body FROM entries ORDER BY entry_id LIMIT 1")
    *fields, vector = connection.execute(
        f"SELECT {', '.join('e.' + name for name in FIELDS)}, v.vector FROM entries e"  # noqa: S608 - our own names
        " JOIN vectors v ON v.entry_id = e.entry_id ORDER BY e.entry_id DESC LIMIT 1"
    ).fetchone()
    fields[FIELDS.index("body")] = first_body
    connection.execute(
        "UPDATE entries SET body = ?, checksum = ? WHERE entry_id = ?",
        (first_body, checksum((*fields, vector)), fields[0]),
    )
    connection.commit()
    connection.close()


def _write(path: Path, text: str) -> None:
    path.write_text(text)
