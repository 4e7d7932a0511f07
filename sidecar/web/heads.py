"""A request's first bytes in; where its head ends, and what it is the same as, out.

Nothing is decided here that the server's parser might decide otherwise. A head is understood only
if it is as plain as can be: printable ASCII, one header a line, none twice, the length of the body
in one number. Whatever else comes (chunks, expectations, upgrades, folded lines) is None, and the
parser's to read.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final

from sidecar.options import Options

CHAT: Final = "/v1/chat/completions"

KEY_BYTES: Final = 16
"""Chosen: of a keyed hash with a secret; the chance that any two of 2**30 requests fall
together is 2**-69."""

MAX_ASKED_BYTES: Final = 64 * 1024
"""Chosen: longer requests are seldom the same, and are read the long way."""

MAX_HEADS: Final = 1_024
"""Chosen: callers send the same few heads again and again, but for the length of the body; 4 kB
each."""

MAX_HEAD_BYTES: Final = 8_190
"""Source: aiohttp's own limit of a line; a longer head is its to refuse."""

IDLE_HEADERS: Final = frozenset(
    {
        "accept",
        "accept-encoding",
        "accept-language",
        "baggage",
        "connection",
        "content-length",
        "host",
        "keep-alive",
        "sentry-trace",
        "traceparent",
        "tracestate",
        "user-agent",
    }
)
"""Read by nobody who decides what a hit says: the server's own, and those passed on upstream. None
begins with `x-`, for rules may look at each of those."""

_NOT_PLAIN: Final = frozenset({"transfer-encoding", "expect", "upgrade", "content-encoding"})
_PLAIN: Final = re.compile(
    rb"([A-Z]{3,7}) ([\x21-\x7e]+) HTTP/1\.1\r\n((?:[A-Za-z0-9_-]+:[ \t]?[\x20-\x7e]*\r\n)+)\r\n"
)


@dataclass(slots=True, eq=False)
class Head:
    """A head that is as plain as can be.

    Attributes:
        end: Where it ends, and the body begins.
        body_bytes: Length of the body.
        asked: What a chat request's key begins with; None of any other request.
        headers: By their names in lower case.
        options: What they ask for; None until somebody has read that.
    """

    end: int
    body_bytes: int
    asked: blake2b | None
    headers: Mapping[str, str]
    options: Options | None = None

    def key(self, body: bytes) -> bytes:
        """Of this chat request with this body."""
        assert self.asked is not None  # noqa: S101 - asked of chat requests alone
        asked = self.asked.copy()
        asked.update(body)
        return asked.digest()


def asked(headers: Iterable[tuple[str, str]], secret: bytes) -> blake2b:
    """What the key of a request to `CHAT` begins with: all headers that may decide something.

    `secret` is this process's own, or this run's: 32 bytes.
    """
    named = ((name.lower(), value) for name, value in headers)
    told = sorted(pair for pair in named if pair[0] not in IDLE_HEADERS)
    # `repr` escapes what might pass for the end of a value, and is plain ASCII but for letters.
    return blake2b(f"{told!r}\n".encode(), key=secret, digest_size=KEY_BYTES)


def fresh_request_id() -> str:
    """An id that no other request has. No secret: feedback counts for the same tenant only."""
    return f"req-{random.getrandbits(96):024x}"


def request_key(headers: Mapping[str, str], body: bytes, secret: bytes) -> bytes:
    """The key of a request to `CHAT`: what has the same bytes is the same request."""
    key = asked(headers.items(), secret)
    key.update(body)
    return key.digest()


@dataclass(slots=True, eq=False)
class Heads:
    """Those seen lately; the same bytes mean the same again. Lives on the event loop's thread."""

    secret: bytes
    _known: dict[bytes, Head] = field(default_factory=dict)

    def find(self, data: bytes) -> Head | None:
        """The head that `data` begins with; None if it is not whole, or not plain."""
        end = data.find(b"\r\n\r\n", 0, MAX_HEAD_BYTES) + 4
        raw = data[:end]
        known = self._known.get(raw)
        if known is not None or end < 4:  # noqa: PLR2004 - no end was found
            return known
        head = _read(raw, self.secret)
        if head is not None:
            if len(self._known) >= MAX_HEADS:
                self._known.clear()
            self._known[raw] = head
        return head


def _read(raw: bytes, secret: bytes) -> Head | None:
    match = _PLAIN.fullmatch(raw)
    if match is None:
        return None
    method, path, lines = match.groups()
    pairs = [_pair(line) for line in lines.decode("ascii").split("\r\n")[:-1]]
    headers = dict(pairs)
    length = headers.get("content-length", "0" if method == b"GET" else "")
    is_plain = (
        len(headers) == len(pairs)
        and headers.keys().isdisjoint(_NOT_PLAIN)
        and headers.get("connection", "keep-alive").lower() == "keep-alive"
        and length.isdigit()
        and len(length) < 10  # noqa: PLR2004 - digits: a gigabyte
    )
    if not is_plain:
        return None
    is_chat = method == b"POST" and path == CHAT.encode()
    return Head(len(raw), int(length), asked(pairs, secret) if is_chat else None, headers)


def _pair(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name.lower(), value.strip(" \t")
