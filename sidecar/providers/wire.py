"""What goes to an upstream and what comes back, whatever the vendor's protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from sidecar.deadline import Deadline


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request for one model at one upstream.

    Attributes:
        body: A chat completion request in OpenAI's shape, `model` being the vendor's id already;
            `stream` is set by the method that is called, not here.
        tier: Name of the tier on whose behalf it is made (the replay upstream answers by it).
        deadline: The instant by which the whole answer must be there.
        headers: The caller's headers that go upstream (`traceparent`, `authorization` if the
            upstream's key is the caller's own).
        hear: Told, before a stream's first chunk, the vendor's headers that pass through.
    """

    body: Mapping[str, Any]
    tier: str
    deadline: Deadline
    headers: Mapping[str, str] = field(default_factory=dict)
    hear: Callable[[Mapping[str, str]], None] = lambda _headers: None


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """A whole answer.

    Attributes:
        body: The `chat.completion` object, every field as the vendor sent it.
        headers: The vendor's headers that pass through.
    """

    body: dict[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)


class Upstream(Protocol):
    """One reachable endpoint. Every fault that it raises is a ProviderError."""

    @property
    def name(self) -> str:
        """The config's name for it."""
        ...

    async def ask(self, call: Call) -> Completion:
        """The whole answer."""
        ...

    async def stream(self, call: Call, tell: Callable[[bytes], None]) -> None:
        """The answer as it comes: the JSON of one `chat.completion.chunk` at a time, to `tell`.

        It returns where the vendor's stream ends; whether the answer is whole is told by the
        chunks' finish reasons. `[DONE]` is not among the chunks. A ProviderError that `tell` raises
        ends the call, and is raised. To cancel the call is to cancel this coroutine.
        """
        ...
