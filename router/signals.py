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

from router.options import Options, options_of, share, stem_of, terms_of
from router.working import MAX_NUMBERS, equations, numbers

HEAD_CHARACTERS: Final = 2048
TAIL_CHARACTERS: Final = 1024
"""Chosen: an answer's conclusion stands at its end and its manner shows at its start; three
kilobytes are read in a fraction of a millisecond."""

_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_WORD = re.compile(r"[^\W\d_]+")
_ASCII_WORD = re.compile(r"[a-z]+")
_MATHS: Final = b"\\$=^+*/<>"
_CODE: Final = ("def ", "return", "assert ", "```", ";\n", "{", "[PYTHON]", "import ")
_NEGATIONS: Final = frozenset({"not", "no", "except", "never", "false", "incorrect", "least"})
_AMOUNTS: Final = frozenset({"many", "much", "calculate", "compute", "find", "determine", "far"})
_REASONS: Final = frozenset({"why", "explain", "how", "because", "cause", "describe"})
_FACTS: Final = frozenset({"which", "who", "when", "where", "what"})
_DIGITS: Final = b"0123456789"

_FINALS: Final = (
    re.compile(r'"(?:final_)?answer"\s*:\s*(?:"((?:[^"\\]|\\.)*)"|([^,}\n]+))', re.IGNORECASE),
    re.compile(r"\\boxed\{((?:[^{}]|\{[^{}]*\})*)\}"),
    re.compile(r"\banswer is:?\s*\**\(?([A-Z])\)?(?![\w'])"),
    re.compile(r"\banswer(?: is|:)\s*:?\**\s*([^\n]{1,80}?)(?:\.\s|\.?\**\s*$|\n)", re.IGNORECASE),
    re.compile(r"####\s*([^\n]+)"),
)
# These three are sought in lower case: to have the pattern ignore case takes nearly three times as
# long.
_HEDGE = re.compile(
    r"\b(?:however|perhaps|maybe|might|possibly|approximately|seems?|assum\w+|closest|likely|"
    r"unclear|not sure|cannot be determined|probably|typically|generally)\b"
)
_DOUBT = re.compile(
    r"\b(?:mistake|re-?evaluate|recheck|reconsider|recalculate|wait|let'?s try|is not correct|"
    r"none of the|not (?:match|listed|among)|doesn'?t match|does not match|there (?:is|seems to be)"
    r" an? (?:error|discrepancy)|incorrect)\b"
)
_REFUSAL = re.compile(
    r"\bi(?:'m| am) (?:sorry|unable|not able)|\bi (?:can(?:no|')t|won't)\b|\bas an ai\b"
)
_STEP = re.compile(r"(?:^|\n)\s*(?:#+ |\d+[.)]\s|[-*] |Step \d)", re.IGNORECASE)
_PLAIN = re.compile(r"\banswer is \(?[A-Z]\)?(?![\w'])")
MAX_FINALS: Final = 8
"""Chosen: who concluded so often before does not matter to whether he changed his mind."""
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
    "finals", "finals_differ", "letter_is_plain", "after_final", "equations", "equations_off",
    "worst_equation", "option_place", "backing", "rival_backing", "options_are_numbers",
    "reached", "rival_reached",
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
    stem, options = stem_of(part)
    words = stem.lower().split()
    distinct = set(words)
    raw = part.encode(errors="surrogatepass")
    return (
        math.log1p(len(text)),
        math.log1p(len(words)),
        math.log1p(part.count("\n")),
        len(stem) / max(1, len(words)),
        float(options),
        math.log1p(len(_NUMBER.findall(stem))),
        _count(raw, _DIGITS) / length,
        math.log1p(_count(raw, _MATHS)),
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


def _count(raw: bytes, characters: bytes) -> int:
    """How many of `raw` are one of these, which are ASCII: one pass for all of them."""
    return len(raw) - len(raw.translate(None, characters))


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, read for the sake of its answers.

    Attributes:
        text: The part that is looked at, in lower case.
        words: Its distinct words.
        options: What it offers to choose from.
    """

    text: str
    words: frozenset[str]
    options: Options


@dataclass(frozen=True, slots=True)
class Reading:
    """One tier's answer, read: its numbers, and what it comes down to.

    Attributes:
        conclusion: The final answer, normalised; empty if none was found.
        signals: In the order of ANSWER_SIGNALS.
        words: The distinct words of the part looked at, for comparing free text.
        terms: The distinct words and numbers of its end, where the conclusion is drawn; none where
            the question has no options to hold them against.
        asked: The question.
    """

    conclusion: str
    signals: tuple[float, ...]
    words: frozenset[str]
    terms: frozenset[str]
    asked: Asked


def read_question(question: str) -> Asked:
    """The question as its answers are held against it."""
    part = seen(question)
    lowered = part.lower()
    return Asked(lowered, _words(lowered), options_of(part))


def _words(lowered: str) -> frozenset[str]:
    pattern = _ASCII_WORD if lowered.isascii() else _WORD  # the first takes two thirds of the time
    return frozenset(pattern.findall(lowered))


def conclusion(text: str) -> str:
    """The final answer in `text`, normalised; empty if none stands out.

    The last of the marks that models are asked for wins: a JSON field, a box, "the answer is".
    `conclusion("... The answer is (C).") == "c"`; `conclusion('{"answer": "$1,200"}') == "1200"`.
    """
    found = _finals(seen(text))
    return normalised(found[-1][1]) if found else ""


def _finals(part: str) -> list[tuple[int, str]]:
    """Where each mark of a final answer begins, and what it says, in order.

    Where several marks begin at one place, the first of `_FINALS` speaks.
    """
    found: dict[int, str] = {}
    for pattern in _FINALS:
        for match in pattern.finditer(part):
            found.setdefault(match.start(), next(filter(None, match.groups()), ""))
    return sorted(found.items())


def normalised(answer: str) -> str:
    """A final answer less what does not change its meaning: case, brackets, currency, zeros."""
    text = answer.strip().strip("*$`'\". ()").replace("\\$", "").replace(",", "").lower()
    text = re.sub(r"\\(?:text|mathrm|left|right|!|,|;|%)|[\s{}]", "", text).rstrip(".%")
    try:
        return f"{float(text):.6g}"
    except ValueError:
        return text


def read_answer(asked: Asked, text: str, tokens_out: int) -> Reading:
    """The answer's conclusion, numbers and words."""
    part = seen(text)
    length = max(1, len(part))
    finals = _finals(part)
    start, last = finals[-1] if finals else (len(part), "")
    told = normalised(last)
    lowered = part.lower()
    words = _words(lowered)
    raw = part.encode()
    is_letter = len(told) == 1 and told.isalpha()
    is_number = bool(told) and told.replace(".", "", 1).lstrip("-").isdigit()
    working = part[max(0, start - TAIL_CHARACTERS) : start]
    has_options = bool(asked.options.all)  # else neither is held against anything
    terms = terms_of(working) if has_options else frozenset[str]()
    reached = numbers(working)[-MAX_NUMBERS:] if has_options else []
    sums = equations(part)
    signals = (
        math.log1p(len(text)),
        math.log1p(tokens_out),
        float(bool(told)),
        float(is_letter),
        float(is_number),
        math.log1p(len(told)),
        float(bool(told) and told in asked.text),
        math.log1p(len(_HEDGE.findall(lowered))),
        math.log1p(len(_DOUBT.findall(lowered))),
        float(_REFUSAL.search(lowered) is not None),
        len(zlib.compress(raw, 1)) / max(1, len(raw)),
        float(part.rstrip().endswith(_ENDS)),
        math.log1p(len(_STEP.findall(part))),
        float(part.lstrip().startswith(("{", "```json"))),
        math.log1p(part.count("=")),
        math.log1p(len(_NUMBER.findall(part))) - math.log(length) / 2,
        len(words & asked.words) / max(1, len(words)),
        math.log1p(len(_OPTION_MENTION.findall(part))),
        math.log1p(len(finals)),
        float(len({normalised(said) for _, said in finals[-MAX_FINALS:]}) > 1),
        float(_PLAIN.search(part) is not None),
        math.log1p(len(part) - start),
        math.log1p(sums.tried),
        sums.off / max(1, sums.tried),
        sums.worst,
        *asked.options.choice(told, terms, reached),
    )
    return Reading(told, signals, words, terms, asked)


PAIR_SIGNALS: Final = (
    "agree", "disagree", "common_words", "length_ratio", "upper_backs_lower", "lower_backs_upper",
    "apart",
)  # fmt: skip
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
        _backs(upper, lower.conclusion),
        _backs(lower, upper.conclusion),
        _apart(lower.conclusion, upper.conclusion),
    )


def _backs(reading: Reading, rival: str) -> float:
    """How much more of the rival's option than of its own a working holds; 0 without options."""
    options = reading.asked.options
    own, other = options.find(reading.conclusion), options.find(rival)
    if own is None or other is None:
        return 0.0
    return share(other.terms, reading.terms) - share(own.terms, reading.terms)


def _apart(lower: str, upper: str) -> float:
    """How far two conclusions that are numbers lie apart, relatively, at most 5; else -1."""
    try:
        one, other = float(lower), float(upper)
    except ValueError:
        return -1.0
    gap = abs(one - other) / max(abs(one), abs(other), 1e-9)
    return min(gap, 5.0) if math.isfinite(gap) else -1.0
