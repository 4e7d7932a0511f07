"""A question's or an answer's text in, cheap numbers about it out.

Only the head and the tail of a long text are looked at, so that the time has a bound whatever a
caller sends. The numbers are raw: `features.py` lays them out, the classifier weighs them.
"""

from __future__ import annotations

import math
import re
import zlib
from dataclasses import dataclass
from typing import Final

HEAD_CHARACTERS: Final = 2048
TAIL_CHARACTERS: Final = 1024
"""Chosen: an answer's conclusion stands at its end and its manner shows at its start; three
kilobytes are read in a fraction of a millisecond."""

_OPTION = re.compile(r"^\(?[A-Z][.):]\s", re.MULTILINE)
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_WORD = re.compile(r"[^\W\d_]+")
_TERM = re.compile(r"\d+(?:\.\d+)?|[^\W\d_]{2,}")
_MATHS: Final = "\\$=^+*/<>"
_CODE: Final = ("def ", "return", "assert ", "```", ";\n", "{", "[PYTHON]", "import ")
_NEGATIONS: Final = frozenset({"not", "no", "except", "never", "false", "incorrect", "least"})
_AMOUNTS: Final = frozenset({"many", "much", "calculate", "compute", "find", "determine", "far"})
_REASONS: Final = frozenset({"why", "explain", "how", "because", "cause", "describe"})
_FACTS: Final = frozenset({"which", "who", "when", "where", "what"})
_DIGITS: Final = "0123456789"

_FINALS: Final = (
    re.compile(r'"(?:final_)?answer"\s*:\s*(?:"((?:[^"\\]|\\.)*)"|([^,}\n]+))', re.IGNORECASE),
    re.compile(r"\\boxed\{((?:[^{}]|\{[^{}]*\})*)\}"),
    re.compile(r"\banswer is:?\s*\**\(?([A-Z])\)?(?![\w'])"),
    re.compile(r"\banswer(?: is|:)\s*:?\**\s*([^\n]{1,80}?)(?:\.\s|\.?\**\s*$|\n)", re.IGNORECASE),
    re.compile(r"####\s*([^\n]+)"),
)
_HEDGE = re.compile(
    r"\b(?:however|perhaps|maybe|might|possibly|approximately|seems?|assum\w+|closest|likely|"
    r"unclear|not sure|cannot be determined|probably|typically|generally)\b",
    re.IGNORECASE,
)
_DOUBT = re.compile(
    r"\b(?:mistake|re-?evaluate|recheck|reconsider|recalculate|wait|let'?s try|is not correct|"
    r"none of the|not (?:match|listed|among)|doesn'?t match|does not match|there (?:is|seems to be)"
    r" an? (?:error|discrepancy)|incorrect)\b",
    re.IGNORECASE,
)
_REFUSAL = re.compile(
    r"\bI(?:'m| am) (?:sorry|unable|not able)|\bI (?:can(?:no|')t|won't)\b|\bas an AI\b",
    re.IGNORECASE,
)
_STEP = re.compile(r"(?:^|\n)\s*(?:#+ |\d+[.)]\s|[-*] |Step \d)", re.IGNORECASE)
_OPTION_MENTION = re.compile(r"\(([A-J])\)|\boption ([A-J])\b")
_ENDS = tuple(".!?)]}`\"'*$|")

QUESTION_SIGNALS: Final = (
    "log_characters", "log_words", "lines", "word_length", "options", "numbers", "digit_ratio",
    "maths", "code", "negations", "asks_amount", "asks_reason", "asks_fact", "distinct_ratio",
    "blanks", "question_marks", "quotes", "option_characters", "foreign", "ends_asking",
)  # fmt: skip
"""The order of `question_signals`' numbers; an artifact names them, so that a change is refused."""

ANSWER_SIGNALS: Final = (
    "log_characters", "log_tokens", "has_final", "final_is_letter", "final_is_number",
    "final_characters", "final_is_known", "hedges", "doubts", "refuses", "compression",
    "ends_whole", "steps", "is_json", "equals_signs", "numbers", "echo", "option_mentions",
    "backing", "rival_backing",
)  # fmt: skip
"""The order of `answer_signals`' numbers."""


def seen(text: str) -> str:
    """The part of `text` that is looked at: all, or head and tail with a line break between."""
    if len(text) <= HEAD_CHARACTERS + TAIL_CHARACTERS:
        return text
    return text[:HEAD_CHARACTERS] + "\n" + text[-TAIL_CHARACTERS:]


def question_signals(text: str) -> tuple[float, ...]:
    """Numbers about a question, in the order of QUESTION_SIGNALS.

    Counting characters and looking words up in sets, since a decision has 100 microseconds in all.
    """
    part = seen(text)
    length = max(1, len(part))
    stem, options = _split_options(part)
    words = stem.lower().split()
    distinct = set(words)
    digits = sum(map(part.count, _DIGITS))
    return (
        math.log1p(len(text)),
        math.log1p(len(words)),
        math.log1p(part.count("\n")),
        len(stem) / max(1, len(words)),
        float(options),
        math.log1p(len(_NUMBER.findall(stem))),
        digits / length,
        math.log1p(sum(map(part.count, _MATHS))),
        math.log1p(sum(map(part.count, _CODE))),
        float(len(distinct & _NEGATIONS)),
        float(len(distinct & _AMOUNTS)),
        float(len(distinct & _REASONS)),
        float(len(distinct & _FACTS)),
        len(distinct) / max(1, len(words)),
        float(part.count("___")),
        math.log1p(part.count("?")),
        math.log1p(part.count('"')),
        math.log1p((len(part) - len(stem)) / max(1, options)),
        float(not part.isascii()),
        float(stem.rstrip().endswith(("?", ":"))),
    )


def _split_options(part: str) -> tuple[str, int]:
    """The question's stem, and how many options it offers (0 if it offers none)."""
    starts = [match.start() for match in _OPTION.finditer(part)]
    if len(starts) < 2:  # noqa: PLR2004 - a choice needs two
        return part, 0
    return part[: starts[0]], len(starts)


@dataclass(frozen=True, slots=True)
class Reading:
    """One tier's answer, read: its numbers, and what it comes down to.

    Attributes:
        conclusion: The final answer, normalised; empty if none was found.
        signals: In the order of ANSWER_SIGNALS.
        words: The distinct words of the part looked at, for comparing free text.
    """

    conclusion: str
    signals: tuple[float, ...]
    words: frozenset[str]


def conclusion(text: str) -> str:
    """The final answer in `text`, normalised; empty if none stands out.

    The last of the marks that models are asked for wins: a JSON field, a box, "the answer is".
    `conclusion("... The answer is (C).") == "c"`; `conclusion('{"answer": "$1,200"}') == "1200"`.
    """
    part = seen(text)
    last, told = -1, ""
    for pattern in _FINALS:
        for match in pattern.finditer(part):
            if match.start() > last:
                last, told = match.start(), next(filter(None, match.groups()), "")
    return normalised(told)


def normalised(answer: str) -> str:
    """A final answer less what does not change its meaning: case, brackets, currency, zeros."""
    text = answer.strip().strip("*$`'\". ()").replace("\\$", "").replace(",", "").lower()
    text = re.sub(r"\\(?:text|mathrm|left|right|!|,|;|%)|[\s{}]", "", text).rstrip(".%")
    try:
        return f"{float(text):.6g}"
    except ValueError:
        return text


def read_answer(question: str, text: str, tokens_out: int) -> Reading:
    """The answer's conclusion, numbers and words."""
    part = seen(text)
    length = max(1, len(part))
    told = conclusion(text)
    words = frozenset(word.lower() for word in _WORD.findall(part))
    asked = seen(question)
    asked_words = frozenset(word.lower() for word in _WORD.findall(asked))
    raw = part.encode()
    is_letter = len(told) == 1 and told.isalpha()
    is_number = bool(told) and told.replace(".", "", 1).lstrip("-").isdigit()
    signals = (
        math.log1p(len(text)),
        math.log1p(tokens_out),
        float(bool(told)),
        float(is_letter),
        float(is_number),
        math.log1p(len(told)),
        float(bool(told) and told in asked.lower()),
        math.log1p(len(_HEDGE.findall(part))),
        math.log1p(len(_DOUBT.findall(part))),
        float(_REFUSAL.search(part) is not None),
        len(zlib.compress(raw, 1)) / max(1, len(raw)),
        float(part.rstrip().endswith(_ENDS)),
        math.log1p(len(_STEP.findall(part))),
        float(part.lstrip().startswith(("{", "```json"))),
        math.log1p(part.count("=")),
        math.log1p(len(_NUMBER.findall(part))) - math.log(length) / 2,
        len(words & asked_words) / max(1, len(words)),
        math.log1p(len(_OPTION_MENTION.findall(part))),
        *_backing(asked, part, told),
    )
    return Reading(told, signals, words)


def _backing(asked: str, part: str, told: str) -> tuple[float, float]:
    """How much of the chosen option's text stands in the answer's end, and of the best other's.

    An answer that computes one thing and then picks the letter of another is rarely right. Both
    are 0 where the question offers no options or none was chosen.
    """
    starts = list(_OPTION.finditer(asked))
    if len(told) != 1 or len(starts) < 2:  # noqa: PLR2004 - a choice needs two
        return 0.0, 0.0
    ends = [*(match.start() for match in starts[1:]), len(asked)]
    body = set(_TERM.findall(part[-TAIL_CHARACTERS:].lower()))
    chosen, rival = 0.0, 0.0
    for match, end in zip(starts, ends, strict=True):
        terms = set(_TERM.findall(asked[match.end() : end].lower()))
        share = len(terms & body) / max(1, len(terms))
        if match.group().strip("(.): \n").lower() == told:
            chosen = share
        else:
            rival = max(rival, share)
    return chosen, rival


PAIR_SIGNALS: Final = ("agree", "disagree", "common_words", "length_ratio")
"""The order of `pair_signals`' numbers."""


def pair_signals(lower: Reading, upper: Reading) -> tuple[float, ...]:
    """Numbers about two tiers' answers to one question, in the order of PAIR_SIGNALS."""
    both = bool(lower.conclusion) and bool(upper.conclusion)
    same = lower.conclusion == upper.conclusion
    union = len(lower.words | upper.words)
    return (
        float(both and same),
        float(both and not same),
        len(lower.words & upper.words) / max(1, union),
        upper.signals[0] - lower.signals[0],
    )
