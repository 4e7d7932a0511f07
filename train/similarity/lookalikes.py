"""Questions in, generated pairs out: look-alikes that another answer serves, and mere rewordings.

One word is changed that changes the answer (a number, a place, a direction, a "not"), or the text
is dressed otherwise and asks the same (manners, case, punctuation, a typing slip). The words are
this file's own, so that what is made from free text is free; a seed makes the same pairs again.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from train.similarity.pairs import Pair

SIBLINGS: Final = (
    "London Paris Berlin Madrid Rome Tokyo Boston Chicago Toronto Sydney Mumbai Dubai",
    "France Germany Spain Italy Japan Canada Australia India China Brazil Mexico Britain",
    "dollars euros pounds yen rupees",
    "monday tuesday wednesday thursday friday saturday sunday",
    "january february march april june july august september october november december",
    "days weeks months years hours minutes",
    "red green blue yellow black white",
    "python java rust javascript ruby",
    "windows linux android macos",
    "mother father brother sister wife husband son daughter",
    "dog cat horse rabbit",
    "chicken beef pork fish",
    "kg pounds grams ounces",
    "km miles metres feet",
    "credit debit prepaid virtual",
    "savings checking",
    "visa mastercard",
    "iphone ipad macbook",
    "breakfast lunch dinner",
    "doctor lawyer dentist engineer teacher nurse",
    "knee shoulder hip ankle wrist",
    "bus train plane car",
    "passport license visa",
    "name address email phone",
)
"""Words of one class: to say another of the same line is to ask something else."""

OPPOSITES: Final = (
    "increase/decrease raise/lower more/less most/least best/worst before/after enable/disable "
    "open/close start/stop buy/sell add/remove send/receive deposit/withdraw with/without "
    "include/exclude first/last max/min maximum/minimum left/right up/down on/off in/out "
    "import/export upload/download encrypt/decrypt lock/unlock accept/reject borrow/lend "
    "hot/cold fast/slow cheap/expensive early/late long/short always/never win/lose "
    "install/uninstall subscribe/unsubscribe push/pull gain/lose legal/illegal pros/cons "
    "advantages/disadvantages cause/prevent larger/smaller higher/lower inside/outside read/write "
    "public/private activate/deactivate can/cannot ascending/descending incoming/outgoing "
    "weekly/monthly daily/hourly"
)
"""Ends of one axis, in lower case."""

_PREFIXES: Final = (
    "please tell me: ",
    "hi, ",
    "quick question: ",
    "I was wondering, ",
    "hello! ",
    "could you help? ",
    "I'd like to know: ",
)
_SUFFIXES: Final = (" thanks", " please", " Thank you!", " Any help appreciated.", " Cheers.")
_CONTRACTIONS: Final = (
    ("what is", "what's"),
    ("how do i", "how can i"),
    ("do not", "don't"),
    ("i am", "i'm"),
    ("can i", "could i"),
    ("is not", "isn't"),
    ("what are the", "which are the"),
    ("how to", "how do i"),
    ("cannot", "can't"),
    ("i have", "i've"),
)
_AUXILIARIES: Final = frozenset(
    ("is", "are", "was", "were", "do", "does", "did", "can", "could", "should", "would", "will")
)
_NUMBER: Final = re.compile(r"\d+")
_WORD: Final = re.compile(r"[A-Za-z']+")


def _siblings() -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for line in SIBLINGS:
        words = tuple(line.lower().split())
        found |= {word: tuple(w for w in words if w != word) for word in words}
    for ends in OPPOSITES.split():
        one, other = ends.split("/")
        found[one], found[other] = (other,), (one,)
    return found


_INSTEAD: Final = _siblings()


def generate(questions: Iterable[str], seed: int) -> Iterator[Pair]:
    """For each question one rewording, and one look-alike of each kind that its words allow."""
    dice = random.Random(seed)  # noqa: S311 - no secret
    for question in questions:
        yield Pair(question, reword(question, dice), "generated", "reword", is_same=True)
        for kind, change in CHANGES.items():
            changed = change(question, dice)
            if changed is not None:
                # Half of them dressed otherwise too, so that the dress alone tells nothing.
                other = reword(changed, dice) if dice.random() < 0.5 else changed  # noqa: PLR2004
                yield Pair(question, other, "generated", kind, is_same=False)


def reword(question: str, dice: random.Random) -> str:
    """The same question in another dress."""
    return dice.choice((_polite, _thanking, _lower, _bare, _contracted, _slipped))(question, dice)


def _polite(text: str, dice: random.Random) -> str:
    return dice.choice(_PREFIXES) + text


def _thanking(text: str, dice: random.Random) -> str:
    return text + dice.choice(_SUFFIXES)


def _lower(text: str, _: random.Random) -> str:
    return text.lower()


def _bare(text: str, _: random.Random) -> str:
    return text.rstrip(" .?!").lower()


def _contracted(text: str, _: random.Random) -> str:
    said = text.lower()
    for long, short in _CONTRACTIONS:
        said = re.sub(rf"\b{long}\b", short, said)
    return said


def _slipped(text: str, dice: random.Random) -> str:
    """Two neighbouring letters inside one of the longer words change places."""
    places = [found for found in _WORD.finditer(text) if len(found[0]) > 5]  # noqa: PLR2004
    if not places:
        return text.lower()
    word = dice.choice(places)
    at = dice.randrange(word.start() + 1, word.end() - 2)
    return text[:at] + text[at + 1] + text[at] + text[at + 2 :]


def _renumbered(text: str, dice: random.Random) -> str | None:
    places = list(_NUMBER.finditer(text))
    if not places:
        return None
    found = dice.choice(places)
    value = int(found[0][:9])
    other = dice.choice((value + 1, value + 2, value * 2 + 1, value * 10 + 3, abs(value - 1) + 5))
    return text[: found.start()] + str(other if other != value else value + 7) + text[found.end() :]


def _replaced(text: str, dice: random.Random) -> str | None:
    places = [found for found in _WORD.finditer(text) if found[0].lower() in _INSTEAD]
    if not places:
        return None
    found = dice.choice(places)
    other = dice.choice(_INSTEAD[found[0].lower()])
    other = other.capitalize() if found[0][0].isupper() else other
    return text[: found.start()] + other + text[found.end() :]


def _negated(text: str, _: random.Random) -> str | None:
    """`not` goes in after the first auxiliary and its subject, or comes out where it stands."""
    words = text.split()
    low = [word.lower() for word in words]
    if "not" in low:
        return " ".join(word for word, said in zip(words, low, strict=True) if said != "not")
    place = next((at for at, word in enumerate(low[:-2]) if word in _AUXILIARIES), None)
    if place is None:
        return None
    after = place + (2 if low[place + 1] in {"i", "you", "we", "they", "it", "he", "she"} else 1)
    return " ".join([*words[:after], "not", *words[after:]])


def _turned(text: str, _: random.Random) -> str | None:
    """`from a to b` becomes `from b to a`."""
    turned = re.sub(r"\bfrom (\w+) to (\w+)", r"from \2 to \1", text)
    turned = re.sub(r"\b(\w+) (before|after|than|into) (\w+)", r"\3 \2 \1", turned)
    return turned if turned.lower() != text.lower() else None


def _narrowed(text: str, dice: random.Random) -> str | None:
    """The same question of a narrower matter: one condition more."""
    said = text.rstrip(" .?!")
    if len(said.split()) > 20:  # noqa: PLR2004 - a long text hides it
        return None
    place = dice.choice(SIBLINGS[0].split() + SIBLINGS[1].split())
    ending = dice.choice(
        (
            f" in {place}",
            " for a child",
            " for a business",
            " without a computer",
            f" under {dice.randrange(2, 90)} dollars",
            f" in {dice.randrange(2, 30)} days",
            " for free",
            " on a weekend",
            " as a beginner",
        )
    )
    return said + ending + text[len(said) :]


CHANGES: Final[dict[str, Callable[[str, random.Random], str | None]]] = {
    "number": _renumbered,
    "sibling": _replaced,
    "negation": _negated,
    "direction": _turned,
    "narrowed": _narrowed,
}
"""Each gives the changed question, or None where its words allow no such change."""
