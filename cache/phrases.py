"""A question in; whether it says nothing by itself, or is answered otherwise tomorrow, out.

Everything here is a pattern, and closed.
"""

from __future__ import annotations

import re
from typing import Final

_IT: Final = r"(?:it|that|this|them|these|those|the above|the answer)"
_CONTEXTUAL: Final = re.compile(
    r"(?:(?:and|but|so|ok|okay|yes|no|please|now|then|well|hmm|can you|could you|would you)[ ,]+)*"
    r"(?:"
    r"continue|go on|keep going|carry on|proceed|next|(?:some )?more|again|another(?: one)?"
    r"|yes|yeah|yep|no|nope|ok|okay|sure|right|correct|exactly|please|do it|do that"
    r"|thanks|thank you|why|why not|why is that|how|how so|how come|really|what|huh|so what"
    r"|what else|anything else|then what|and then|are you sure|is that (?:so|right|true|correct)"
    r"|(?:tell|show|give) me (?:more|another(?: one)?)(?: about " + _IT + r")?|say more"
    r"|more (?:details?|examples?|please)|(?:give me |show me )?(?:an |another |more )examples?"
    r"|elaborate|expand|go deeper|explain(?: " + _IT + r")?"
    r"|(?:explain|elaborate|expand|rewrite|repeat|summari[sz]e|shorten|simplify|fix|improve|check"
    r"|translate|rephrase)(?: on)? " + _IT + r"(?: (?:again|further|more|in more detail"
    r"|(?:in|into|to|for) \w+))?"
    r"|make " + _IT + r" (?:more |less )?\w+|try again|retry|redo|repeat|shorter|longer|simpler"
    r"|(?:the )?same (?:for|in|with) \w+|(?:in|into) \w+|(?:what|how) about (?:the )?\w+"
    r"|the (?:first|second|third|last|other|next) one|what do you mean(?: by " + _IT + r")?"
    r"|what does (?:it|that|this) mean|who is (?:he|she|it|that)|where is (?:it|that)"
    r")(?:[ ,]+(?:please|then|again|too|thanks))*"
)
"""A turn that says nothing without the one before it; the whole text must match.
Chosen: closed and short on purpose; every word of it is tried both ways in the tests."""

_MAX_CONTEXTUAL_CHARACTERS: Final = 60
"""Chosen: the longest phrase above is shorter; longer text is not worth the match."""

_MOMENT: Final = r"(?:today|now|tonight|tomorrow|yesterday|this (?:morning|evening|week|weekend))"
_TIME_BOUND: Final = re.compile(
    r"\b(?:right now|at (?:the|this) (?:very )?moment|just now|as of (?:today|now)"
    r"|today'?s (?:date|day|weather|news|headlines?|forecast|price|prices|score|scores|rate|rates"
    r"|game|match|schedule|temperature)"
    r"|(?:latest|breaking|today'?s|current) (?:news|headlines|scores?|weather|forecast)"
    r"|current (?:date|time|temperature|(?:stock |share |gold |oil )?price|exchange rate)"
    r"|what time is it|what(?:'s| is) the (?:time|date)(?= ?(?:\?|$|now|today|in |here))"
    r"|what (?:day|date|year|month)(?: of the week)? is (?:it|today)"
    r"|which (?:day|date)(?: of the week)? is (?:it|today)"
    r"|(?:weather|forecast|temperature|news|traffic|price|prices|rate|score)"
    r"(?: \w+){0,4} " + _MOMENT + r"|is it (?:raining|snowing|sunny) (?:in|now|today)"
    r"|(?:days?|weeks?|months?|years?|hours?|minutes?) (?:after|before|from|since|until|till)"
    r" (?:today|now|tomorrow|yesterday)"
    r"|(?:days?|weeks?|months?|years?|hours?|minutes?) ago(?= ?(?:\?|$|today)))"
)
"""A question whose answer is another tomorrow, or in a minute. Chosen: narrow, since every question
that it takes is never cached; what the last answer said of "currently" is left to the TTL."""


def needs_context(question: str) -> bool:
    """`needs_context("and in French?")`; not so `needs_context("What is French for cat?")`."""
    if len(question) > _MAX_CONTEXTUAL_CHARACTERS:
        return False
    return _CONTEXTUAL.fullmatch(question.lower().strip(" .,!?\t\r\n")) is not None


def is_time_bound(question: str) -> bool:
    """`is_time_bound("What is today's date?")`; not so "What day is 3 days after 2024-02-27?"."""
    return _TIME_BOUND.search(question.lower().replace("\u2019", "'")) is not None
