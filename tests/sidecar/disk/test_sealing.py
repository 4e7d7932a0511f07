"""Sealed with a key, opened with the same one at the same place, and by nobody else."""

from __future__ import annotations

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.disk.sealing import AesGcm, cipher_of

CIPHER = AesGcm("5a" * 32)


@given(st.binary(max_size=200), st.binary(max_size=20), st.binary(max_size=20))
def test_what_is_sealed_opens_at_its_place_alone(data: bytes, place: bytes, other: bytes) -> None:
    """`open(seal(d, p), p) == d`; at another place, or with another key, it is None."""
    sealed = CIPHER.seal(data, place)
    assert CIPHER.open(sealed, place) == data
    assert (CIPHER.open(sealed, other) == data) == (place == other)
    assert AesGcm("5b" * 32).open(sealed, place) is None
    assert CIPHER.seal(data, place) != sealed


@given(st.binary(max_size=60), st.integers(0, 10_000))
def test_a_bit_that_was_turned_is_noticed(data: bytes, bit: int) -> None:
    """Nothing is given back that was not sealed; rubbish is None, and no crash."""
    sealed = bytearray(CIPHER.seal(data, b"p"))
    sealed[bit // 8 % len(sealed)] ^= 1 << bit % 8
    assert CIPHER.open(bytes(sealed), b"p") is None
    assert CIPHER.open(data, b"p") is None


@pytest.mark.parametrize(
    "key", ["quite-another-word", "00" * 31, "00" * 33, "env:NAME", "not base64 at all!"]
)
def test_what_is_no_key_is_refused_and_not_quoted(key: str) -> None:
    """The message says what a key is, not what this was."""
    with pytest.raises(ValueError, match="32 bytes") as told:
        AesGcm(key)
    assert key not in str(told.value)


def test_one_key_in_two_spellings_is_one_key() -> None:
    """Hex and base64; and the mark tells it from others without telling it."""
    raw = bytes(range(32))
    one, two = AesGcm(raw.hex()), AesGcm(b64encode(raw).decode())
    assert one.mark == two.mark != CIPHER.mark
    assert 0 < one.mark < 2**31
    assert two.open(one.seal(b"d", b"p"), b"p") == b"d"
    assert cipher_of("") is None
