"""Texts and works that wait for the encoder's thread; the answer to whoever waits for one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sidecar.encoder.encoding import Encoding
from sidecar.errors import EncoderError


@dataclass(slots=True, eq=False)
class TextJob:
    """A text, what to do with its encoding, and who waits for the result."""

    text: str
    then: Callable[[Encoding], Any]
    waiting: asyncio.Future[Any]
    asked_s: float


@dataclass(slots=True, eq=False)
class WorkJob:
    """A work without a text; `waiting` is None if it was posted."""

    work: Callable[[], Any]
    waiting: asyncio.Future[Any] | None


class Last:
    """The job at which the thread ends."""


Job = TextJob | WorkJob | Last


def settle(waiting: asyncio.Future[Any], result: Any, fault: Exception | None) -> None:
    """Answer a caller, unless it left meanwhile."""
    if waiting.done():
        return
    if fault is None:
        waiting.set_result(result)
        return
    if isinstance(fault, StopIteration):
        # A future refuses this one, since a coroutine would end on it in silence.
        fault = EncoderError("a work ended with StopIteration")
    waiting.set_exception(fault)
