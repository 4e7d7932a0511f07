"""The tokenizer: cut to our window, never in silence, and no padding."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.encoder.tokenizer import MAX_CHARS_PER_TOKEN, Tokenizer
from sidecar.errors import EncoderError
from tests.sidecar.encoder import tiny


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    tiny.write_tokenizer(path)
    return Tokenizer(path, max_tokens=10)


@given(words=st.lists(st.sampled_from(tiny.WORDS[4:]), max_size=30))
def test_truncation_is_reported_exactly_when_it_happens(
    tokenizer: Tokenizer, words: list[str]
) -> None:
    """The window is ours, not the file's; both special tokens stay."""
    tokens = tokenizer.tokenize(" ".join(words))
    whole = tiny.token_ids(" ".join(words))
    assert tokens.truncated == (len(whole) > 10)
    assert list(tokens.ids) == (whole if len(whole) <= 10 else [*whole[:9], 3])


def test_text_beyond_all_bounds_counts_as_cut(tokenizer: Tokenizer) -> None:
    """It is not tokenised to its end, so nobody can say that nothing was lost."""
    text = "w1" + " " * 10 * MAX_CHARS_PER_TOKEN + "w2"
    assert tokenizer.tokenize(text) == ((2, 4 + 1, 3), True)


def test_a_lone_surrogate_is_our_error(tokenizer: Tokenizer) -> None:
    """JSON can carry one, UTF-8 cannot."""
    with pytest.raises(EncoderError, match="cannot be tokenised"):
        tokenizer.tokenize("\ud800")


def test_a_file_that_is_no_tokenizer_is_our_error(tmp_path: Path) -> None:
    """The library's own exception has no type."""
    (tmp_path / "tokenizer.json").write_text("{}", "utf-8")
    with pytest.raises(EncoderError, match="is no tokenizer"):
        Tokenizer(tmp_path / "tokenizer.json", max_tokens=10)
