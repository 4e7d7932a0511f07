"""A text in, its tokens out, cut to the window and saying so."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import tokenizers

from sidecar.encoder.encoding import Tokens
from sidecar.errors import EncoderError

MAX_CHARS_PER_TOKEN: Final = 64
"""Chosen: ten times what an English token holds. Text beyond the window times this is never
tokenised, so that a megabyte of prompt costs what a window costs; such a text counts as cut."""


class Tokenizer:
    """The bundle's own tokenizer with this process's window; padding is the session's business."""

    def __init__(self, path: Path, max_tokens: int) -> None:
        """Read `tokenizer.json`, whose own truncation and padding are overruled.

        Raises:
            EncoderError: The file is no tokenizer.
        """
        try:
            self._tokenizer = tokenizers.Tokenizer.from_file(str(path))
        # The library raises bare Exception for every fault of the file.
        except Exception as exc:
            raise EncoderError(f"{path} is no tokenizer: {exc}") from exc
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_tokens)
        self._max_chars = max_tokens * MAX_CHARS_PER_TOKEN

    def tokenize(self, text: str) -> Tokens:
        """The tokens of `text`, `[CLS]` and `[SEP]` included; the end is cut, not the beginning.

        Raises:
            EncoderError: The text is not valid Unicode (a lone surrogate).
        """
        try:
            encoding = self._tokenizer.encode(text[: self._max_chars])
        except (TypeError, ValueError) as exc:
            raise EncoderError(f"the text cannot be tokenised: {exc}") from exc
        truncated = bool(encoding.overflowing) or len(text) > self._max_chars
        return Tokens(tuple(encoding.ids), truncated)
