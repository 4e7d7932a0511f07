"""A schema and an answer, both of strangers, in; where they do not fit out: jsonschema's one door.

Rule 1: every keyword that is applied is a step, and steps are counted: a schema of a few lines can
        ask for more than a lifetime of them.
Rule 2: `pattern` is RE2's, `uniqueItems` a set: both are quadratic or worse in the original.
Rule 3: nothing is fetched. A reference that leads out of the schema cannot be followed.
Rule 4: a schema that cannot be held to these is not enforced; what it means is the vendor's
        business, as it would have been without us.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import orjson
from jsonschema import Draft202012Validator, ValidationError
from jsonschema.exceptions import UnknownType
from jsonschema.validators import extend
from referencing import Registry
from referencing.exceptions import Unresolvable

from sidecar.patterns import compiled

MAX_SCHEMA_BYTES: Final = 64 * 1024
MAX_STEPS: Final = 20_000
"""Chosen: an answer of six thousand fields. Measured: 20,000 steps, some 80 ms on one core."""

MAX_ANSWER_CHARACTERS: Final = 256 * 1024
MAX_DETAIL: Final = 300
"""Chosen: characters of a fault that are told; what follows quotes the answer."""

_UNBOUNDED: Final = frozenset({"patternProperties", "unevaluatedProperties", "unevaluatedItems"})
"""Keywords that search with `re` within the library; schemas that use them are not enforced."""


class SchemaUnusable(ValueError):
    """The schema is none, or none that can be enforced within bounds."""


def misfit(text: str, schema: Mapping[str, Any]) -> str:
    """Why `text` is not what `schema` asks for, in a few words; empty if it is.

    Raises:
        SchemaUnusable: That cannot be said.
    """
    if len(text) > MAX_ANSWER_CHARACTERS:
        raise SchemaUnusable("the answer is too long to be looked at in passing")
    try:
        instance = orjson.loads(text)
    except orjson.JSONDecodeError as fault:
        return f"it is no valid JSON: {fault}"[:MAX_DETAIL]
    _check_bounds(schema)
    try:
        wrong = next(_validator(schema).iter_errors(instance), None)
    except (RecursionError, Unresolvable, ValueError) as fault:
        raise SchemaUnusable(str(fault)) from fault
    except (
        UnknownType,
        TypeError,
        AttributeError,
        KeyError,
        IndexError,
        ArithmeticError,
    ) as fault:
        # JSON from a stranger may hold anything anywhere; what trips over it is no schema.
        raise SchemaUnusable(f"it is no schema: {fault}") from fault
    return "" if wrong is None else f"at {wrong.json_path}: {wrong.message}"[:MAX_DETAIL]


def _check_bounds(schema: Mapping[str, Any]) -> None:
    if len(orjson.dumps(schema)) > MAX_SCHEMA_BYTES:
        raise SchemaUnusable(f"it is longer than {MAX_SCHEMA_BYTES} bytes")
    waiting: list[Any] = [schema]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            if strange := _UNBOUNDED & part.keys():
                raise SchemaUnusable(f"{min(strange)} cannot be checked within bounds")
            waiting.extend(part.values())
        elif isinstance(part, list):
            waiting.extend(part)


Keyword = Callable[[Any, Any, Any, Any], Iterator[ValidationError] | None]


def _validator(schema: Mapping[str, Any]) -> Draft202012Validator:
    """One check's validator: it counts, and so it is not used twice."""
    steps = 0

    def counted(keyword: Keyword) -> Keyword:
        def apply(
            validator: Any, value: Any, instance: Any, schema: Any
        ) -> Iterator[ValidationError] | None:
            nonlocal steps
            steps += 1
            if steps > MAX_STEPS:
                raise SchemaUnusable(f"it asks for more than {MAX_STEPS} steps")
            return keyword(validator, value, instance, schema)

        return apply

    keywords: dict[str, Keyword] = {
        **Draft202012Validator.VALIDATORS,
        "pattern": _pattern,
        "uniqueItems": _unique_items,
    }
    kind = extend(
        Draft202012Validator, {name: counted(keyword) for name, keyword in keywords.items()}
    )
    validator: Draft202012Validator = kind(dict(schema), registry=Registry())
    return validator


def _pattern(_: Any, value: Any, instance: Any, __: Any) -> Iterator[ValidationError]:
    if isinstance(instance, str) and compiled(value).search(instance) is None:
        yield ValidationError(f"the text does not match {value!r}")


def _unique_items(_: Any, value: Any, instance: Any, __: Any) -> Iterator[ValidationError]:
    if value is True and isinstance(instance, list):
        seen = {orjson.dumps(item, option=orjson.OPT_SORT_KEYS) for item in instance}
        if len(seen) < len(instance):
            yield ValidationError("two items are the same")
