"""A text in, the language that it is most likely written in out, as two letters; empty if unsure.

By its script where that settles it, else by its commonest words. Meant for rules such as "German
goes to the German model", not for linguists: short texts, code and mixtures are "unsure".
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping
from typing import Final

MAX_CHARACTERS: Final = 2_000
"""Chosen: more of a text does not tell its language better."""

LEAST_LETTERS: Final = 4
LEAST_WORDS: Final = 2
"""Chosen: one common word may be a name or a loan; two are a sentence."""

_SCRIPTS: Final[Mapping[str, str]] = {
    "CYRILLIC": "ru",
    "CJK": "zh",
    "HIRAGANA": "ja",
    "KATAKANA": "ja",
    "HANGUL": "ko",
    "ARABIC": "ar",
    "HEBREW": "he",
    "DEVANAGARI": "hi",
    "GREEK": "el",
    "THAI": "th",
}
"""By the first word of a character's Unicode name. A script of several languages stands for the one
that writes it most: a rule for `ru` meets Bulgarian too, and says so in the docs."""

_COMMON: Final[Mapping[str, str]] = {
    "en": "the is are of and to what how does which in that with for you my",
    "de": "der die das ist und wie nicht ein eine ich zu mit wird den von auf",
    "fr": "le la les est et des une pour que qui dans je vous du quelle sont",
    "es": "el los las es y una por qué que con para del cómo en son cuál",
    "it": "il lo gli è e una per che di con come della sono quale nel un",
    "pt": "o os as é e uma por que não com para do da como são qual",
    "nl": "de het een is en van niet hoe wat ik met voor zijn dat op naar",
}
_WORDS: Final = {name: frozenset(words.split()) for name, words in _COMMON.items()}
LANGUAGES: Final = frozenset({*_SCRIPTS.values(), *_WORDS})

_WORD: Final = re.compile(r"[^\W\d_]+")


def language(text: str) -> str:
    """Two letters of LANGUAGES, or empty."""
    text = text[:MAX_CHARACTERS].lower()
    letters = [c for c in text if c.isalpha()]
    foreign = Counter(_script(c) for c in letters if not c.isascii())
    told = {script: count for script, count in foreign.items() if script}
    if len(letters) >= LEAST_LETTERS and 2 * sum(told.values()) > len(letters):
        # Japanese writes most of its words in Chinese characters, and Chinese none in kana.
        return "ja" if "ja" in told else max(told, key=lambda script: (told[script], script))
    words = _WORD.findall(text)
    common = {name: sum(w in known for w in words) for name, known in _WORDS.items()}
    first, second, *_ = sorted(common, key=lambda name: -common[name])
    is_clear = common[first] >= LEAST_WORDS and common[first] > common[second]
    return first if is_clear else ""


def _script(character: str) -> str:
    return _SCRIPTS.get(unicodedata.name(character, "").partition(" ")[0].partition("-")[0], "")
