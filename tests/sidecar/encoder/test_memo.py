"""A text that comes again in its scope is not encoded again; in another one it is."""

from __future__ import annotations

import pytest

from sidecar.encoder import memo
from sidecar.encoder.batcher import Batcher
from sidecar.encoder.memo import Memo
from sidecar.errors import EncoderError
from tests.sidecar.encoder.test_batcher import SMALL, FakeEncoder, expected, seen


async def test_the_same_text_is_encoded_once_in_each_scope() -> None:
    """And never remembered without one."""
    encoder = FakeEncoder()
    batcher = Batcher(encoder, SMALL)
    batcher.start()
    held = Memo(batcher)
    for scope in (b"mine", b"mine", b"yours", b"yours", b"", b""):
        assert await held.encode("text", seen, scope) == expected("text")
    await batcher.close()
    assert len(encoder.batches) == 4


async def test_it_holds_no_more_than_it_may_and_no_fault() -> None:
    """Who was asked for least lately leaves; what could not be encoded is tried again."""
    encoder = FakeEncoder()
    batcher = Batcher(encoder, SMALL)
    batcher.start()
    held = Memo(batcher)
    encoder.broken = True
    with pytest.raises(EncoderError):
        await held.encode("text 0", seen, b"s")
    encoder.broken = False
    for number in range(memo.MAX_REMEMBERED + 1):
        await held.encode(f"text {number}", seen, b"s")
    assert len(held) == memo.MAX_REMEMBERED
    runs = len(encoder.batches)
    await held.encode(f"text {memo.MAX_REMEMBERED}", seen, b"s")
    assert len(encoder.batches) == runs
    await held.encode("text 0", seen, b"s")
    assert len(encoder.batches) == runs + 1
    await batcher.close()
