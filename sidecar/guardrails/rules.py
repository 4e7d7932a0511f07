"""The `[guardrails]` table, and the closed set of rules for requests and answers."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, get_args

import orjson

from sidecar.patterns import Patterns

RequestRule = Literal["max-messages", "roles", "max-characters", "deny", "require"]
AnswerRule = Literal["answer-schema", "answer-length", "answer-denied", "answer-empty"]

RULES: Final[tuple[str, ...]] = (*get_args(RequestRule), *get_args(AnswerRule))
"""Every label that metrics, log and traffic record may show."""

Action = Literal["repair", "escalate", "block", "flag"]


class Violation(NamedTuple):
    """What an answer does not keep to.

    Attributes:
        rule: Which rule.
        detail: Where and how, in words that a model can act on; may quote the answer, and so
            goes to whoever asked and nowhere else.
    """

    rule: AnswerRule
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardrailsConfig:
    """The rules; 0 and an empty list ask for nothing.

    Attributes:
        max_messages: Of one request.
        max_characters: Of all its texts together.
        roles: That messages may have; empty lets any pass.
        deny: Patterns (RE2) of which no message's text may hold one.
        require: Patterns of which each must be found in some message's text.
        max_answer_characters: Of one choice's text.
        deny_answer: Patterns of which no answer's text may hold one.
        allow_empty_answer: False: an answer that neither says nor calls anything breaks a rule.
        json_schema: Of a request with a `json_schema`: `mend` has an answer that does not fit
            repaired and, if need be, given by the next tier, and serves the best of them; `enforce`
            makes it a rule like the others; `off` trusts the vendor.
        on_violation: `repair` (asked once more of the same tier, with what is wrong; then as
            `escalate`), `escalate` (the next tier; refused where none is left), `block` (refused at
            once), `flag` (served, told in log, metrics and record, and never kept).
        streams: An answer that is relayed as it comes cannot be taken back. `held` relays none to
            which a rule applies; `flag` relays it, and tells afterwards.

    Raises:
        ValueError: A number is negative, or a pattern cannot be used; it is named.
    """

    max_messages: int = 0
    max_characters: int = 0
    roles: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    require: tuple[str, ...] = ()
    max_answer_characters: int = 0
    deny_answer: tuple[str, ...] = ()
    allow_empty_answer: bool = True
    json_schema: Literal["off", "mend", "enforce"] = "mend"
    on_violation: Action = "repair"
    streams: Literal["held", "flag"] = "held"

    def __post_init__(self) -> None:
        for name in ("max_messages", "max_characters", "max_answer_characters"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative")
        for name in ("deny", "require", "deny_answer"):
            Patterns(getattr(self, name), name)  # refuses what cannot be used

    @property
    def binds_answers(self) -> bool:
        """A rule of the operator's own holds for every answer."""
        return bool(self.max_answer_characters or self.deny_answer or not self.allow_empty_answer)

    @property
    def digest(self) -> str:
        """Of the rules that answers are kept under; empty without any.

        It is part of the cache's key, so that an answer kept under other rules is not found.
        """
        if not self.binds_answers and self.json_schema != "enforce":
            return ""
        told = [
            self.max_answer_characters,
            self.deny_answer,
            self.allow_empty_answer,
            self.json_schema == "enforce",
        ]
        return hashlib.sha256(orjson.dumps(told)).hexdigest()[:16]
