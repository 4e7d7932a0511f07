"""A JSON object in; the template and the chat requests that it asks for out, checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

import orjson

from sidecar.chat import ChatRequest, parse
from sidecar.errors import MalformedRequest
from sidecar.fragments.template import NAME, Piece, Place, parse_template

MAX_FRAGMENTS: Final = 32
"""Chosen: each one is a request of its own; more are better asked by the caller, in turns."""

MAX_TEXT: Final = 20_000
"""Chosen: characters of a fragment's stand-in; as much as a long answer."""

OnFailure = Literal["fail", "omit", "text"]

_FIELDS: Final = frozenset({"template", "fragments", "stream"})

_FRAGMENT_FIELDS: Final = frozenset({"request", "on_failure", "text"})


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Fragment:
    """One part.

    Attributes:
        request: What is asked for it.
        on_failure: What its failure means.
        text: What stands in for its answer, if that is `text`.
    """

    request: ChatRequest
    on_failure: OnFailure = "fail"
    text: str = ""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class FragmentsRequest:
    """What is to be put together.

    Attributes:
        pieces: The template's, in order.
        fragments: By name; each one stands somewhere among the pieces.
        stream: The caller wants it piece by piece.
    """

    pieces: tuple[Piece, ...]
    fragments: Mapping[str, Fragment]
    stream: bool


def parse_fragments(body: Mapping[str, Any]) -> FragmentsRequest:
    """What the JSON object `body` asks for.

    Raises:
        MalformedRequest: A field is missing, strange or out of bounds; it is named.
    """
    _check_known(body, _FIELDS, "")
    template, told, stream = body.get("template"), body.get("fragments"), body.get("stream", False)
    if not isinstance(template, str):
        raise MalformedRequest("template", "must be a string")
    if not isinstance(told, dict) or not 0 < len(told) <= MAX_FRAGMENTS:
        raise MalformedRequest("fragments", f"must be an object of 1 to {MAX_FRAGMENTS} fragments")
    if not isinstance(stream, bool):
        raise MalformedRequest("stream", "must be of type boolean")
    pieces = parse_template(template)
    placed = {piece.name for piece in pieces if isinstance(piece, Place)}
    for name in told:
        if not NAME.fullmatch(name):
            raise MalformedRequest("fragments", f"the name {name[:80]!r} is none: {NAME.pattern}")
        if name not in placed:
            raise MalformedRequest(f"fragments.{name}", "stands nowhere in the template")
    if strange := sorted(placed - told.keys()):
        raise MalformedRequest("template", f"{{{{{strange[0]}}}}} names no fragment")
    fragments = {name: _fragment(name, value) for name, value in told.items()}
    return FragmentsRequest(pieces=pieces, fragments=fragments, stream=stream)


def _check_known(body: Mapping[str, Any], known: Iterable[str], path: str) -> None:
    if strange := sorted(set(body) - set(known)):
        raise MalformedRequest(f"{path}{strange[0][:64]}", "is no field that is known here")


def _fragment(name: str, told: object) -> Fragment:
    path = f"fragments.{name}"
    if not isinstance(told, dict):
        raise MalformedRequest(path, "must be an object with a request")
    _check_known(told, _FRAGMENT_FIELDS, f"{path}.")
    on_failure, text = told.get("on_failure", "fail"), told.get("text")
    if on_failure not in get_args(OnFailure):
        raise MalformedRequest(f"{path}.on_failure", "must be fail, omit or text")
    if (text is not None) != (on_failure == "text"):
        raise MalformedRequest(f"{path}.text", "goes with on_failure text, and with nothing else")
    if text is not None and not (isinstance(text, str) and len(text) <= MAX_TEXT):
        raise MalformedRequest(f"{path}.text", f"must be a string of at most {MAX_TEXT} characters")
    request = _request(f"{path}.request", told.get("request"))
    return Fragment(request=request, on_failure=on_failure, text=text or "")


def _request(path: str, told: object) -> ChatRequest:
    if not isinstance(told, dict):
        raise MalformedRequest(path, "must be a chat request")
    try:
        request = parse(orjson.dumps(told))
    except orjson.JSONEncodeError as fault:
        raise MalformedRequest(path, "is nested too deeply") from fault
    except MalformedRequest as fault:
        said = str(fault).removeprefix(f"{fault.param}: ")
        raise MalformedRequest(f"{path}.{fault.param}", said) from fault
    if request.stream:
        raise MalformedRequest(f"{path}.stream", "the whole may be streamed, and not a part of it")
    if (request.body.get("n") or 1) != 1:
        raise MalformedRequest(f"{path}.n", "must be 1: a place is filled once")
    return request
