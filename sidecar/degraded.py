"""The last thing before an error: a text of the operator's, for questions that he foresaw.

It is told as what it is: model `sidecar-static`, no usage, `x-sidecar-degraded: static`. It is
never kept, costs nothing, and is off unless the config holds one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from sidecar import answer
from sidecar.patterns import compiled

MODEL: Final = "sidecar-static"

MAX_MATCHED: Final = 4_096
"""Chosen: characters of a question that a pattern sees: callers must not set its time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticAnswerConfig:
    """What is said to which questions.

    Attributes:
        match: RE2 expression, searched for in the last user turn; empty fits any request.
        tenant: Whose requests; empty means everybody's.
        text: The answer.

    Raises:
        ValueError: The pattern is none, or the text is empty.
    """

    text: str
    match: str = ""
    tenant: str = ""

    def __post_init__(self) -> None:
        if not self.text:
            raise ValueError("text must not be empty")
        try:
            compiled(self.match)
        except ValueError as fault:
            raise ValueError(f"match {fault}") from fault


@dataclass(frozen=True, slots=True, kw_only=True)
class DegradedConfig:
    """What is said where nobody answers.

    Attributes:
        answers: The first one that fits is told; without any the caller hears the error.
    """

    answers: tuple[StaticAnswerConfig, ...] = ()


class StaticAnswers:
    """The config's, ready to be searched."""

    def __init__(self, config: DegradedConfig) -> None:
        self._answers = [(compiled(each.match), each) for each in config.answers]

    def find(self, question: str | None, tenant: str) -> str | None:
        """The text for this question of this tenant, if one was foreseen."""
        told = (question or "")[:MAX_MATCHED]
        return next(
            (
                each.text
                for pattern, each in self._answers
                if each.tenant in {"", tenant} and pattern.search(told)
            ),
            None,
        )


def static_body(text: str, created_at: int) -> dict[str, Any]:
    """`text` as a chat completion that no model gave."""
    message = {"role": "assistant", "content": text, "refusal": None}
    return {
        "id": answer.fresh_id(),
        "object": "chat.completion",
        "created": created_at,
        "model": MODEL,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
    }
