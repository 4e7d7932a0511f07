r"""A template's text in, its pieces out: words as they stand, and places that are filled in later.

A place is `{{name}}`; `\{{` is two braces that begin none. Anything else that begins with two
braces is a mistake, and told as one. What fills a place is never looked at for places of its own:
a model's answer, or a caller's text in it, must not be able to fetch another fragment.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from sidecar.errors import MalformedRequest

MAX_CHARACTERS: Final = 100_000
"""Chosen: a page of 15,000 words; longer texts are put together by whoever has them."""

MAX_PLACES: Final = 128
"""Chosen: four for each of the most fragments that one request may have."""

NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
"""Of a fragment: it stands in a header and in a log as it is."""

_MARK: Final = re.compile(r"\\\{\{|\{\{[ \t]*(" + NAME.pattern + r")[ \t]*\}\}|\{\{")


class Place(NamedTuple):
    """Where the fragment called `name` goes."""

    name: str


Piece = str | Place


def parse_template(text: str) -> tuple[Piece, ...]:
    """`parse_template("a {{b}} c") == ("a ", Place("b"), " c")`.

    Raises:
        MalformedRequest: It is too long, holds too many places, or braces that are no place.
    """
    if len(text) > MAX_CHARACTERS:
        raise MalformedRequest("template", f"must be at most {MAX_CHARACTERS} characters long")
    pieces: list[Piece] = []
    end = 0
    for mark in _MARK.finditer(text):
        pieces.append(text[end : mark.start()])
        end = mark.end()
        if mark[1] is not None:
            pieces.append(Place(mark[1]))
        elif mark[0].startswith("\\"):
            pieces.append("{{")
        else:
            raise MalformedRequest(
                "template",
                f"the braces at character {mark.start()} begin no place like {{{{name}}}}; "
                "two that are meant as such are written \\{{",
            )
    pieces.append(text[end:])
    if sum(isinstance(piece, Place) for piece in pieces) > MAX_PLACES:
        raise MalformedRequest("template", f"must hold at most {MAX_PLACES} places")
    return tuple(_joined(pieces))


def _joined(pieces: list[Piece]) -> list[Piece]:
    """Words that stand side by side as one piece, and no empty ones."""
    joined: list[Piece] = []
    for piece in pieces:
        if isinstance(piece, str) and joined and isinstance(joined[-1], str):
            joined[-1] += piece
        elif piece != "":
            joined.append(piece)
    return joined
