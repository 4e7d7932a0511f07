"""OpenAI's wire without I/O: what to send, what an answer or a refusal means, where chunks end.

Source: OpenAI's API reference, "Chat"; the stream's framing is the HTML standard's server-sent
events (section 9.2.6), of which vendors use `data:` lines alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, Final

import orjson

from sidecar.answer import checked
from sidecar.errors import UpstreamGarbled
from sidecar.providers.errors import CallerAtFault, UpstreamBusy, UpstreamRefused
from sidecar.providers.wire import Completion

MAX_EVENT_BYTES: Final = 8 * 1024 * 1024
"""Chosen: no vendor's chunk comes near it, and a line without an end does not fill memory."""

LINE_BYTES: Final = 64
"""Chosen: what a line costs beside its bytes; without it empty ones without end would be free."""

MAX_RETRY_AFTER_S: Final = 86_400.0
"""Chosen: a day; whoever says more has miscounted, and a number without end breaks sums."""

MAX_PASSED: Final = 32
MAX_PASSED_CHARACTERS: Final = 1_024
"""Chosen: headers, and of each; vendors send ten, of some twenty characters, and many a client
refuses more than a hundred or one of 8 KiB."""

_CALLER_AT_FAULT: Final = frozenset({400, 404, 405, 406, 409, 413, 414, 415, 422})
_PASSED: Final = frozenset(
    {"retry-after", "retry-after-ms", "x-request-id", "openai-processing-ms"}
)


def request_body(body: Mapping[str, Any], *, stream: bool, usage_in_streams: bool) -> bytes:
    """The JSON to send: the caller's own fields, with `stream` as this call needs it.

    A stream is asked for its usage even where the caller did not ask: without it nobody knows what
    the answer cost. The caller then never sees that chunk.
    """
    sent = {name: value for name, value in body.items() if name not in {"stream", "stream_options"}}
    if stream:
        sent["stream"] = True
        options = dict(body.get("stream_options") or {})
        if usage_in_streams:
            options["include_usage"] = True
        if options:
            sent["stream_options"] = options
    return orjson.dumps(sent)


def passed_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The vendor's headers that the caller may rely on, names in lower case.

    None that the caller's own client might refuse for its length, with the answer.
    """
    passed = dict[str, str]()
    for name, value in headers.items():
        told = name.lower()
        is_ours = told in _PASSED or told.startswith("x-ratelimit-")
        if is_ours and len(told) + len(value) <= MAX_PASSED_CHARACTERS:
            passed[told] = value
            if len(passed) == MAX_PASSED:
                break
    return passed


def completion(upstream: str, raw: bytes, passed: Mapping[str, str]) -> Completion:
    """The whole answer that `raw` holds, with the headers that go with it.

    Raises:
        UpstreamGarbled: It is no chat completion.
    """
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as fault:
        raise UpstreamGarbled(f"upstream {upstream} sent no JSON") from fault
    return Completion(body=checked(body, upstream), headers=passed)


def find_retry_after_s(headers: Mapping[str, str], now_at: float) -> float | None:
    """Seconds until the vendor wants to be asked again; None if it does not say, or oddly.

    Args:
        headers: The answer's, names in any case.
        now_at: Seconds since the epoch, UTC.

    Source: RFC 9110, section 10.2.3 (seconds or a date); `retry-after-ms` is Azure OpenAI's and
    OpenAI's own client reads it first.
    """
    lowered = {name.lower(): value for name, value in headers.items()}
    told = lowered.get("retry-after", "")
    seconds = _number(lowered.get("retry-after-ms", "")) / 1e3
    if math.isnan(seconds):
        seconds = _number(told)
    if math.isnan(seconds):
        seconds = _date_at(told) - now_at
    return None if math.isnan(seconds) else min(max(0.0, seconds), MAX_RETRY_AFTER_S)


def _number(told: str) -> float:
    try:
        return float(told)
    except ValueError:
        return math.nan


def _date_at(told: str) -> float:
    try:
        when = parsedate_to_datetime(told)
        # An HTTP date is always GMT; one without its zone is read as that, not as this machine's.
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return math.nan


def refusal(
    upstream: str, status: int, raw: bytes, headers: Mapping[str, str], now_at: float
) -> UpstreamRefused:
    """The fault that an answer with an error status means; its body is kept if it is OpenAI's."""
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        body = None
    told = body if isinstance(body, dict) and isinstance(body.get("error"), dict) else None
    kind = CallerAtFault if status in _CALLER_AT_FAULT else UpstreamBusy
    wait_s = find_retry_after_s(headers, now_at)
    return kind(upstream, status, told, passed_headers(headers), wait_s)


class EventSplitter:
    """Bytes as they arrive in, the data of whole events out, wherever the bytes were cut.

    Each byte is looked at once and copied once: a long event in many small packets costs no more
    than in one.
    """

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self._rest = bytearray()  # of the line that has not ended
        self._data: list[bytes] = []  # of the event that has not ended
        self._data_bytes = 0  # in it

    def feed(self, received: bytes) -> list[bytes]:
        """The data of each event that `received` completes.

        Raises:
            UpstreamGarbled: An event is longer than MAX_EVENT_BYTES.
        """
        if not self._rest and not self._data and (plain := _plain(received)):
            return plain
        *lines, rest = received.split(b"\n")
        if lines and self._rest:
            lines[0] = bytes(self._rest) + lines[0]
            self._rest.clear()
        events = [data for line in lines for data in self._line(line.removesuffix(b"\r"))]
        self._rest += rest
        if len(self._rest) + self._data_bytes > MAX_EVENT_BYTES:
            raise UpstreamGarbled(f"upstream {self._upstream} sent an event without an end")
        return events

    def _line(self, line: bytes) -> Iterator[bytes]:
        if line.startswith(b"data:"):
            self._data.append(line[5:].removeprefix(b" "))
            self._data_bytes += len(self._data[-1]) + LINE_BYTES
        elif not line and self._data:
            data, self._data, self._data_bytes = b"\n".join(self._data), [], 0
            yield data
        # Comments (`: ping`), `event:`, `id:` and `retry:` carry nothing for us.

    def finish(self) -> Iterator[bytes]:
        """The last event, if the upstream closed without the blank line that should end it."""
        yield from self._line(bytes(self._rest).removesuffix(b"\r"))
        yield from self._line(b"")


def _plain(received: bytes) -> list[bytes]:
    """Of whole events of one line each, which is how vendors send them; else nothing."""
    if not received.startswith(b"data: ") or not received.endswith(b"\n\n"):
        return []
    events = received[6:-2].split(b"\n\ndata: ")
    is_plain = received.count(b"\n") == 2 * len(events) and b"\r" not in received
    return events if is_plain else []
