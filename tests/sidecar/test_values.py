"""Values: what frozen dataclasses are to whoever compares, copies and hashes them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

import pytest

from sidecar.values import value


@value(frozen=True, slots=True, kw_only=True)
class Weighed:
    """One of them."""

    name: str
    grams: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Frozen:
    """The same, as the library makes it."""

    name: str
    grams: int = 1


def test_two_that_are_equal_are_one_to_sets_and_mappings() -> None:
    """As two frozen ones are."""
    assert Weighed(name="a") == Weighed(name="a", grams=1) != Weighed(name="a", grams=2)
    assert len({Weighed(name="a"), Weighed(name="a")}) == 1


def test_what_the_library_does_with_a_frozen_one_it_does_with_it() -> None:
    """Copies with other fields, mappings of them, and no field that was not declared."""
    assert replace(Weighed(name="a"), grams=3) == Weighed(name="a", grams=3)
    assert asdict(Weighed(name="a")) == asdict(Frozen(name="a"))
    with pytest.raises(AttributeError):
        Weighed(name="a").pounds = 1  # type: ignore[attr-defined]
