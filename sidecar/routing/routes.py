"""The config's rules in, compiled; of each request the rule that it meets, out.

Patterns are compiled here, since `router` knows no RE2. Examples become vectors on the encoder's
own thread, as the first work after the config is read: what is asked later is encoded later, and so
no question can come before them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cache.entry import Vector
from router.rules import NOTHING, Facts, Met, Rule, RuleConfig, first_meant, first_met
from sidecar.chat import needs_of, words_of
from sidecar.ledger import Inquiry
from sidecar.patterns import compiled

Floats = NDArray[np.float32]


class Vectorised(Protocol):
    """What encoding gives."""

    @property
    def vectors(self) -> Floats:
        """(n, dim) float32, each of length 1."""
        ...


class TextEncoder(Protocol):
    """The half of the encoder that is needed here."""

    def encode(self, texts: Sequence[str]) -> Vectorised:
        """One vector a text, in order."""
        ...


class Routes:
    """The rules in force.

    Raises:
        ValueError: A pattern cannot be used.
    """

    def __init__(self, configs: Sequence[RuleConfig]) -> None:
        self._rules = [Rule(config, _search(config.when.regex)) for config in configs]
        self._examples: Mapping[str, Floats] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """Of all rules, in order."""
        return tuple(rule.name for rule in self._rules)

    @property
    def has_examples(self) -> bool:
        """Some rule is met by meaning."""
        return any(rule.config.when.examples for rule in self._rules)

    def learn(self, encoder: TextEncoder) -> None:
        """Encode the examples. To be called on the encoder's thread."""
        self._examples = {
            rule.name: encoder.encode(list(rule.config.when.examples)).vectors.astype(np.float32)
            for rule in self._rules
            if rule.config.when.examples
        }

    def met(self, inquiry: Inquiry) -> Met:
        """What can be told before the question has a vector."""
        if not self._rules:
            return NOTHING
        request = inquiry.request
        facts = Facts(
            texts=[words_of(message) for message in request.messages],
            question=request.question or "",
            path=inquiry.path,
            tags=inquiry.options.tags,
            tenant=inquiry.caller.tenant,
            headers=inquiry.options.headers,
            capabilities=needs_of(request).capabilities,
            tokens=request.tokens_in,
        )
        return first_met(self._rules, facts)

    def meant(self, candidates: Sequence[Rule], vector: Vector | None) -> Rule | None:
        """The first candidate that the question means."""
        return first_meant(candidates, self._examples, vector)


def _search(pattern: str) -> Callable[[str], bool] | None:
    return partial(_found, compiled(pattern)) if pattern else None


def _found(pattern: Any, text: str) -> bool:
    return pattern.search(text) is not None
