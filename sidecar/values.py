"""A class's fields in, a class of values out: the type checker keeps them as they are, not Python.

A dataclass with `frozen=True` sets each field by a call of its own, and a request makes some twenty
such values. `@value(frozen=True, ...)` is the very same to the type checker, which checks all of
this project, and costs no more than a plain class when it runs. For what is made for each request;
all else, above all what is made of a config, is `@dataclass(frozen=True, ...)`.
Measured: a record of 46 fields, 7.4 us frozen and 2.2 as a value; one shared core of a Xeon.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

T = TypeVar("T")

if TYPE_CHECKING:
    from dataclasses import dataclass as value
else:

    def value(*, frozen: bool, eq: bool = True, **told: bool) -> Callable[[type[T]], type[T]]:
        """As `dataclass`; two that are equal have one hash, as two frozen ones have."""
        assert frozen, "what changes is no value"  # noqa: S101 - a bug of ours
        return dataclass(eq=eq, unsafe_hash=eq, **told)


__all__ = ["value"]
