"""One config's rules, ready for use: a request in, its refusal or the guard of its answers out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sidecar import answer
from sidecar.chat import ChatRequest, words_of
from sidecar.errors import RequestRefused
from sidecar.guardrails.rules import GuardrailsConfig, Violation
from sidecar.guardrails.schemas import SchemaUnusable, misfit
from sidecar.patterns import MAX_TEXT_CHARACTERS, Patterns

MAX_SHOWN: Final = 8_000
"""Chosen: characters of a wrong answer that are shown to the model which is to mend it."""

_MEND: Final = (
    "Your answer cannot be used: {detail}. Answer the request above again. "
    "Give the corrected answer alone, whole, with no words about the correction."
)


class Guardrails:
    """The rules of one config. Holds nothing between requests.

    Attributes:
        keyed: What of them belongs to the cache's key: see `GuardrailsConfig.digest`.
    """

    def __init__(self, config: GuardrailsConfig) -> None:
        self._config = config
        self.keyed: Final[Mapping[str, str]] = (
            {"x-sidecar-guardrails": config.digest} if config.digest else {}
        )
        self._deny = Patterns(config.deny, "deny")
        self._require = Patterns(config.require, "require")
        self._deny_answer = Patterns(config.deny_answer, "deny_answer")
        self._binds_answers = config.binds_answers
        self._reads_texts = bool(config.max_characters or config.deny or config.require)

    def check_request(self, request: ChatRequest) -> None:
        """Raises RequestRefused: it breaks a rule; which one is said, what it said is not."""
        config, messages = self._config, request.messages
        if config.max_messages and len(messages) > config.max_messages:
            raise RequestRefused("max-messages", "messages", f"at most {config.max_messages}")
        for place, message in enumerate(messages if config.roles else ()):
            if message["role"] not in config.roles:
                allowed = ", ".join(config.roles)
                raise RequestRefused("roles", f"messages[{place}].role", f"must be of {allowed}")
        if self._reads_texts:
            self._check_texts([words_of(message) for message in messages])

    def _check_texts(self, texts: Sequence[str]) -> None:
        longest = self._config.max_characters or MAX_TEXT_CHARACTERS
        if self._deny or self._require:
            longest = min(longest, MAX_TEXT_CHARACTERS)
        if sum(map(len, texts)) > longest:
            raise RequestRefused("max-characters", "messages", f"at most {longest} characters")
        for place, text in enumerate(texts):
            if (number := self._deny.find_first(text)) is not None:
                told = f"holds what the rule deny[{number}] forbids"
                raise RequestRefused("deny", f"messages[{place}]", told)
        if (number := self._require.find_missing(texts)) is not None:
            raise RequestRefused("require", "messages", f"lack what require[{number}] asks for")

    def of_answers(self, request: ChatRequest) -> AnswerGuard | None:
        """The rules for the answers to `request`; None where none applies."""
        config = self._config
        wanted = request.body.get("response_format")
        schema = _schema_of(wanted) if wanted and config.json_schema != "off" else None
        if schema is None and not self._binds_answers:
            return None
        return AnswerGuard(config=config, denied=self._deny_answer, schema=schema)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class AnswerGuard:
    """The rules for one request's answers.

    Attributes:
        config: The rules.
        denied: What no answer may hold.
        schema: What the answer must fit; None if anything goes.
    """

    config: GuardrailsConfig
    denied: Patterns
    schema: Mapping[str, Any] | None

    @property
    def holds_streams(self) -> bool:
        """No word may go out before the answer was looked at."""
        is_rule = self.config.binds_answers or self.config.json_schema == "enforce"
        acts = self.config.on_violation != "flag"
        return is_rule and acts and self.config.streams == "held"

    def check(self, body: Mapping[str, Any]) -> Violation | None:
        """The first rule that the answer `body` breaks."""
        return next(filter(None, map(self._check_choice, body["choices"])), None)

    def _check_choice(self, choice: Mapping[str, Any]) -> Violation | None:
        message = choice["message"]
        if message.get("refusal"):
            return None  # the vendor's own word, which no rule of ours makes better
        calls = bool(message.get("tool_calls") or message.get("function_call"))
        text = words_of(message)
        return self._check_text(text, calls=calls) or self._check_schema(text, calls=calls)

    def _check_text(self, text: str, *, calls: bool) -> Violation | None:
        config = self.config
        if not config.allow_empty_answer and not calls and not text.strip():
            return Violation("answer-empty", "it is empty")
        longest = config.max_answer_characters or MAX_TEXT_CHARACTERS
        if config.max_answer_characters or self.denied:
            longest = min(longest, MAX_TEXT_CHARACTERS)
            if len(text) > longest:
                return Violation("answer-length", f"it is longer than {longest} characters")
        if (number := self.denied.find_first(text)) is not None:
            return Violation("answer-denied", f"it holds what the rule {number} forbids")
        return None

    def _check_schema(self, text: str, *, calls: bool) -> Violation | None:
        if self.schema is None or calls:
            return None
        try:
            wrong = misfit(text, self.schema)
        except SchemaUnusable:
            return None
        return Violation("answer-schema", f"it does not fit the schema: {wrong}") if wrong else None

    def mending(
        self, request: Mapping[str, Any], body: Mapping[str, Any], violation: Violation
    ) -> dict[str, Any] | None:
        """The request that asks for a better answer than `body`; None if none is to be asked."""
        is_mended = self._is_mend(violation) or self.config.on_violation == "repair"
        if not is_mended or len(body["choices"]) != 1:
            return None
        said = {"role": "assistant", "content": answer.text(body)[:MAX_SHOWN]}
        asked = {"role": "user", "content": _MEND.format(detail=violation.detail)}
        return {**request, "messages": [*request["messages"], said, asked]}

    def may_escalate(self, violation: Violation) -> bool:
        """Another tier is asked for an answer that keeps to the rules."""
        return self._is_mend(violation) or self.config.on_violation in {"repair", "escalate"}

    def refuses(self, violation: Violation) -> bool:
        """Such an answer is not served, though there is no other."""
        return not self._is_mend(violation) and self.config.on_violation != "flag"

    def _is_mend(self, violation: Violation) -> bool:
        """The schema is the request's own wish, and the operator asks for no more than to help."""
        return violation.rule == "answer-schema" and self.config.json_schema == "mend"


def _schema_of(wanted: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What a `response_format` asks for; None if for no schema, or for one in no known way."""
    if wanted.get("type") != "json_schema" or not isinstance(wanted.get("json_schema"), dict):
        return None
    schema = wanted["json_schema"].get("schema")
    return schema if isinstance(schema, dict) else None
