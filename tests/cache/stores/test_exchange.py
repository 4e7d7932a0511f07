"""Exchange: what was exported comes back; what was changed on the way does not."""

from __future__ import annotations

from dataclasses import replace
from hashlib import blake2b

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.entry import Entry
from cache.epochs import EVERYTHING, Epochs, Mark, Selector
from cache.errors import ExchangeError
from cache.stores.exchange import exported, imported, merged, newcomers
from tests.cache.stores.test_disk import entry

MARKS = [Mark(Selector("tag", "a", "t"), 3, 1.5), Mark(Selector("tenant", "t"), 4, 2.5)]


def lines(entries: list[Entry]) -> list[bytes]:
    return list(exported(entries, MARKS, "encoder-a"))


@given(st.text(), st.binary(), st.booleans(), st.floats(0, 1e9))
def test_what_is_exported_comes_back(text: str, body: bytes, meaning: bool, at: float) -> None:  # noqa: FBT001 - drawn
    """Every field of every entry, every mark, and whose vectors they are."""
    one = replace(entry(1, question=text), body=body, created_at=at, tenant=text, epoch=7)
    one = one if meaning else replace(one, vector=None, partition=None)
    exchange = imported(lines([one]))
    (back,) = exchange.entries
    assert (exchange.encoder_id, exchange.marks) == ("encoder-a", MARKS)
    for name in Entry.__slots__:
        if name != "vector":
            assert getattr(back, name) == getattr(one, name)
    assert (back.vector is None) == (one.vector is None)
    if one.vector is not None and back.vector is not None:
        np.testing.assert_array_equal(back.vector, one.vector)


@given(st.data())
def test_a_changed_byte_is_refused(data: st.DataObject) -> None:
    """Nothing of the file is taken: whoever changed one line may have changed others."""
    whole = lines([entry(1), entry(2)])
    number = data.draw(st.integers(0, len(whole) - 1))
    place = data.draw(st.integers(0, len(whole[number]) - 1))
    byte = data.draw(st.integers(0, 255))
    if whole[number][place] == byte:
        return
    whole[number] = whole[number][:place] + bytes([byte]) + whole[number][place + 1 :]
    with pytest.raises(ExchangeError):
        imported(whole)


@pytest.mark.parametrize(
    ("head", "told"),
    [
        pytest.param({"format": "other"}, "does not name", id="format"),
        pytest.param({"schema": 1}, "schema 1", id="schema"),
    ],
)
def test_another_format_or_schema_is_refused(head: dict[str, object], told: str) -> None:
    """By its first line, and in words."""
    first = orjson.loads(lines([])[0]) | head
    del first["checksum"]
    packed = orjson.dumps(first, option=orjson.OPT_SORT_KEYS)
    first["checksum"] = blake2b(packed, digest_size=16).hexdigest()
    with pytest.raises(ExchangeError, match=told):
        imported([orjson.dumps(first)])
    with pytest.raises(ExchangeError, match="empty"):
        imported([])


def test_only_what_is_newer_comes_in_under_a_new_id() -> None:
    """An id is never used twice, and an older answer never replaces a newer one."""
    exchange = imported(lines([entry(1), entry(2), entry(3)]))
    kept = [
        replace(exchange.entries[0], created_at=99.0),
        replace(exchange.entries[1], created_at=0.0),
    ]
    fresh = newcomers(exchange, kept, top=40)
    assert [(one.entry_id, one.fingerprint) for one in fresh] == [
        (41, exchange.entries[1].fingerprint),
        (42, exchange.entries[2].fingerprint),
    ]


def test_an_invalidation_on_either_side_holds() -> None:
    """What was void before the journey, or where it ends, is void after it."""
    ours = [Mark(Selector("tag", "a"), 9, 1.0), Mark(Selector("tag", "b"), 1, 1.0)]
    theirs = [Mark(EVERYTHING, 2, 1.0), Mark(Selector("tag", "b"), 5, 1.0)]
    marks = merged(ours, theirs)
    assert marks[0].selector == EVERYTHING
    epochs = Epochs()
    epochs.restore(marks, 0)
    assert epochs.voids(replace(entry(1), tags=("a",), epoch=8))
    assert epochs.voids(replace(entry(1), tags=("b",), epoch=4))
    assert epochs.voids(replace(entry(1), tags=(), epoch=1))
    assert not epochs.voids(replace(entry(1), tags=("b",), epoch=5))
