"""What goes to an upstream and what comes back, whatever the vendor's protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import Any, Protocol

from sidecar.deadline import Deadline
from sidecar.values import value


@value(frozen=True, slots=True, kw_only=True)
class Call:
    """One request for one model at one upstream.

    Attributes:
        body: A chat completion request in OpenAI's shape, `model` being the vendor's id already;
            `stream` is set by the method that is called, not here.
        tier: Name of the tier on whose behalf it is made (the replay upstream answers by it).
        deadline: The instant by which the whole answer must be there.
        headers: The caller's headers that go upstream (`traceparent`, `authorization` if the
            upstream's key is the caller's own).
    """

    body: Mapping[str, Any]
    tier: str
    deadline: Deadline
    headers: Mapping[str, str] = field(default_factory=dict)


Hear = Callable[[Mapping[str, str]], None]
"""Takes the vendor's headers that pass through, before the first chunk."""

Tell = Callable[[Sequence[bytes]], None]
"""Takes the JSON of `chat.completion.chunk` objects, as many as came at once."""


@value(frozen=True, slots=True, kw_only=True)
class Completion:
    """A whole answer.

    Attributes:
        body: The `chat.completion` object, every field as the vendor sent it.
        headers: The vendor's headers that pass through.
    """

    body: dict[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)


class Upstream(Protocol):
    """One reachable endpoint. Every fault that it raises is a ProviderError.

    It keeps the call's deadline itself, and nobody sets a timer beside it.
    """

    @property
    def name(self) -> str:
        """The config's name for it."""
        ...

    async def ask(self, call: Call) -> Completion:
        """The whole answer; UpstreamTooSlow at the call's deadline, if not before."""
        ...

    async def stream(self, call: Call, hear: Hear, tell: Tell) -> None:
        """The answer as it comes, to `tell`, in the very call that brings it.

        It returns where the vendor's stream ends; whether the answer is whole is told by the
        chunks' finish reasons. `[DONE]` is not among the chunks. A ProviderError that `tell` raises
        ends the call, and is raised. To cancel the call is to cancel this coroutine.
        """
        ...
