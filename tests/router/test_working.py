"""Working: sums are tried, what cannot be read counts for nothing, and any text has its end."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.working import MAX_EQUATIONS, equations, nearest, numbers


@pytest.mark.parametrize(
    ("text", "tried", "off"),
    [
        pytest.param("3 * 4 = 12 and 5 + 2 = 8.", 2, 1, id="one of two"),
        pytest.param("2 + 3 * 4 = 14", 1, 0, id="products first"),
        pytest.param("(2 + 3) * 4 = 20", 1, 0, id="brackets"),
        pytest.param("2^3 = 8, \\frac{6}{4} = 1.5, 1,200 - 200 = 1000", 3, 0, id="spellings"),
        pytest.param("10 / 3 = 3.33", 1, 0, id="rounded"),
        pytest.param("10 / 3 = 3.43", 1, 1, id="off by more than rounding"),
        pytest.param("1 / 0 = 7 and 9^9^9 = 1", 0, 0, id="cannot be read"),
        pytest.param("x = 5, so 7 = 7", 0, 0, id="no sum"),
        pytest.param("2 + 2 = 4 * 3", 0, 0, id="a chain goes on"),
        pytest.param("no numbers here", 0, 0, id="none"),
    ],
)
def test_sums_are_tried(text: str, tried: int, off: int) -> None:
    """Plain arithmetic is worked out and held against what is said to come out."""
    found = equations(text)
    assert (found.tried, found.off) == (tried, off)
    assert (found.worst > 0) == (off > 0)


@given(st.text(alphabet="0123456789.+-*/^=() \\{}$,x", max_size=2000))
def test_any_text_is_read_to_its_end(text: str) -> None:
    """Whatever is written, the counts are bounded and every number is finite."""
    found = equations(text)
    assert 0 <= found.off <= found.tried <= MAX_EQUATIONS
    assert 0.0 <= found.worst <= 10.0
    assert all(map(math.isfinite, numbers(text)))


def test_many_brackets_end() -> None:
    """A text of brackets alone is no expression, and no recursion without end."""
    assert equations("(" * 5000 + "1 + 1" + ")" * 5000 + " = 2").tried <= 1


def test_numbers_are_found_as_models_write_them() -> None:
    """Thousands, signs and powers of ten are read."""
    assert numbers("2.5 * 10^-3 of 1,200 and -7") == [0.0025, 1200.0, -7.0]
    assert nearest([1.0, 2.1], 2.0) == pytest.approx(0.05)
    assert nearest([], 2.0) == 5.0
