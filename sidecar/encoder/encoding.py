"""What comes out of the encoder, and what the batcher asks of whatever makes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]


class Tokens(NamedTuple):
    """One text as the transformer reads it.

    Attributes:
        ids: Token ids, the special tokens at both ends included.
        truncated: Whether the text was longer than the window, so that its end is not in `ids`.
    """

    ids: tuple[int, ...]
    truncated: bool


@dataclass(frozen=True, slots=True, eq=False)
class Encodings:
    """Several texts encoded, in the order in which they were given.

    Attributes:
        vectors: (n, dim) float32, unit length.
        tokens: Of each text, special tokens included.
        truncated: Of each text, whether its end was cut off.
    """

    vectors: Vectors
    tokens: tuple[int, ...]
    truncated: tuple[bool, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Encoding:
    """One text encoded, and what that took.

    Attributes:
        vector: (dim,) float32, unit length.
        tokens: Special tokens included.
        truncated: Whether the text's end was cut off.
        queue_ms: From asking to the begin of the run that held this text.
        encode_ms: Of that run, tokenising included.
    """

    vector: Vectors
    tokens: int
    truncated: bool
    queue_ms: float
    encode_ms: float


class Encoder(Protocol):
    """Texts to vectors, synchronously. Not thread-safe: one thread owns it."""

    @property
    def together(self) -> bool:
        """Whether a text's vector is the same, and comes sooner, when texts run together."""

    @property
    def at_once_tokens(self) -> int:
        """How many are soon done, so that who comes meanwhile may wait for all of them."""

    def tokenize(self, text: str) -> Tokens:
        """The text's tokens, cut to the window; raises EncoderError."""

    def run(self, batch: Sequence[Tokens]) -> Vectors:
        """The vectors of `batch`, (n, dim) float32, unit length; raises EncoderError."""
