"""A parsed TOML table in, settings dataclasses out; every fault is gathered, each with its path."""

from __future__ import annotations

import copy
import difflib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from decimal import Decimal
from typing import Any, Final, Literal, TypeVar, get_args, get_origin

import cattrs
from cattrs.errors import (
    AttributeValidationNote,
    BaseValidationError,
    ForbiddenExtraKeysError,
    IterableValidationNote,
)

T = TypeVar("T")


class Reading:
    """One table being read; sections are taken out of it, and what is left over is a fault."""

    def __init__(self, table: Mapping[str, Any]) -> None:
        self.faults: list[str] = []
        self._table = copy.deepcopy(dict(table))

    def refuse(self, path: str, neutral: object) -> None:
        """Take a key out that is not built; say so if it asks for more than `neutral`."""
        *above, key = path.split(".")
        holders: list[Any] = [self._table]
        for name in above:
            found = [holder.get(name) for holder in holders if isinstance(holder, dict)]
            holders = [f for each in found for f in (each if isinstance(each, list) else [each])]
        asked = [h.pop(key) for h in holders if isinstance(h, dict) and key in h]
        if any(value != neutral for value in asked):
            self.faults.append(f"{path}: is not built in this version; remove it")

    def section(self, path: str, kind: type[T]) -> T | None:
        """The settings in the table at `path`, or None and a fault."""
        *above, key = path.split(".")
        holder: Any = self._table
        for name in above:
            holder = holder.get(name, {}) if isinstance(holder, dict) else {}
        return self._structured(path, holder.pop(key, {}) if isinstance(holder, dict) else {}, kind)

    def rows(self, path: str, kind: type[T]) -> tuple[T, ...]:
        """The settings in the array of tables at `path`; those without a fault."""
        rows = self._table.pop(path, [])
        if not isinstance(rows, list):
            self.faults.append(f"{path}: must be an array of tables, [[{path}]]")
            return ()
        read = [self._structured(f"{path}[{n}]", row, kind) for n, row in enumerate(rows)]
        return tuple(row for row in read if row is not None)

    def _structured(self, path: str, table: object, kind: type[T]) -> T | None:
        if not isinstance(table, dict):
            self.faults.append(f"{path}: must be a table")
            return None
        revealed = {key: self._revealed(f"{path}.{key}", value) for key, value in table.items()}
        try:
            return _CONVERTER.structure(revealed, kind)
        except BaseValidationError as group:
            self.faults += _told(group, path)
        except (ValueError, TypeError) as fault:
            self.faults.append(f"{path}: {fault}")
        return None

    def _revealed(self, path: str, value: Any) -> Any:
        """`env:NAME` replaced by what the environment holds; never told in a fault."""
        if isinstance(value, list):
            return [self._revealed(path, item) for item in value]
        if isinstance(value, dict):
            return {key: self._revealed(f"{path}.{key}", item) for key, item in value.items()}
        if not isinstance(value, str) or not value.startswith("env:"):
            return value
        name = value.removeprefix("env:")
        if name not in os.environ:
            self.faults.append(f"{path}: the environment has no {name}")
        return os.environ.get(name, "unset")

    def leftovers(self, known: Iterable[str]) -> None:
        """What was not taken out is unknown."""
        self.faults += [unknown(key, known, key) for key in self._table]


def _told(group: BaseValidationError, path: str) -> Iterator[str]:
    """The faults in an exception group, each with its path."""
    for fault in group.exceptions:
        notes = [
            note
            for note in getattr(fault, "__notes__", ())
            if isinstance(note, AttributeValidationNote | IterableValidationNote)
        ]
        where = path + "".join(
            f".{note.name}" if isinstance(note, AttributeValidationNote) else f"[{note.index}]"
            for note in notes
        )
        if isinstance(fault, BaseValidationError):
            yield from _told(fault, where)
        elif isinstance(fault, ForbiddenExtraKeysError):
            known = {each.name for each in fields(fault.cl)}
            for key in sorted(fault.extra_fields):
                yield unknown(f"{where}.{key}", known, key)
        elif isinstance(fault, KeyError):
            yield f"{where}: is missing"
        else:
            yield f"{where}: {fault}"


def unknown(path: str, known: Iterable[str], key: str) -> str:
    """The fault of a key that does not exist, with the nearest that does."""
    return f"{path}: unknown key" + _nearest(key, known)


def unmet(path: str, known: Iterable[str], name: str) -> str:
    """The fault of a name that nothing bears, with the nearest that something does."""
    return f"{path}: there is no {name!r}" + _nearest(name, known)


def _nearest(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, sorted(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _is_literal(kind: Any) -> bool:
    return get_origin(kind) is Literal


def _converter() -> cattrs.Converter:
    """Strict: a number is not a word, and an unknown key is a fault."""
    converter = cattrs.Converter(forbid_extra_keys=True, detailed_validation=True)

    def one_of(kinds: tuple[type, ...], told: str, make: Any) -> Any:
        def structured(value: object, _: object) -> Any:
            is_odd_bool = isinstance(value, bool) and bool not in kinds
            if is_odd_bool or not isinstance(value, kinds):
                raise TypeError(f"must be {told}")
            return make(value)

        return structured

    number = one_of((int, float), "a number", float)
    converter.register_structure_hook(int, one_of((int,), "a whole number", int))
    converter.register_structure_hook(float, number)
    converter.register_structure_hook(str, one_of((str,), "a string", str))
    converter.register_structure_hook(bool, one_of((bool,), "true or false", bool))
    # Through text: a price of 0.1 is meant as the decimal that is written, not as its binary kin.
    converter.register_structure_hook(
        Decimal, one_of((int, float), "a number", lambda value: Decimal(str(value)))
    )
    words = one_of((list,), "an array", tuple)
    text = one_of((str,), "an array of strings", str)
    converter.register_structure_hook_func(
        lambda kind: kind == tuple[str, ...],
        lambda value, kind: tuple(text(item, kind) for item in words(value, kind)),
    )
    converter.register_structure_hook_func(
        lambda kind: kind == frozenset[str],
        lambda value, kind: frozenset(text(item, kind) for item in words(value, kind)),
    )

    def word(value: object, kind: Any) -> Any:
        if value not in get_args(kind):
            raise ValueError(f"must be one of {', '.join(map(str, get_args(kind)))}")
        return value

    converter.register_structure_hook_func(_is_literal, word)
    either = one_of((int, float, str), "a number or a name", lambda value: value)
    for kind in (float | str, str | float):
        converter.register_structure_hook(kind, either)
    return converter


_CONVERTER: Final = _converter()
