"""What a climb may cost, taken before it begins, and what it did cost, settled when it is over.

Hits and those who follow another's call never come here: they cost nothing. Who leads pays, also
where he leaves and others hear the answer.

The worst case is that every tier which may be asked is asked, each as often as it may be for one
request, with a prompt of a token a byte (byte-level encodings, which all the vendors use, make no
more) and an answer as long as the request allows. Where the budgets have no room for that, the
upper tiers are left out, as many as need be; what the others answer is then not kept, for it may be
less than the caller would get on another day.

A call that ended midway (its last listener left, its stream broke, its time ran out) told no usage:
it is taken to have cost its worst case, as far as that was reserved. So a budget may be told more
than the vendor's bill says, and hardly ever less.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from decimal import Decimal
from itertools import accumulate, pairwise
from typing import Any, Final, Protocol

import orjson

from router.pricing import cost
from router.tiers import Ladder, Tier
from sidecar.admission.admission import Admission, Hold
from sidecar.chat import ChatRequest
from sidecar.errors import BudgetSpent, SidecarError
from sidecar.guardrails.guardrails import MAX_SHOWN
from sidecar.ledger import Aim, Ledger
from sidecar.providers.errors import StreamBroken, UpstreamTooSlow

LINKED_TOKENS: Final = 4096
"""Chosen: for each image or sound, which may be given by a link that tells nothing of its size;
more than OpenAI's tables charge for most images at high detail, though not for the largest of all.
"""

MEND_TOKENS: Final = 4 * MAX_SHOWN + 4096
"""Of the wrong answer that is sent back, at a token a byte, and of the words about it."""

_UNTOLD: Final = frozenset({StreamBroken.__name__, UpstreamTooSlow.__name__})
"""Outcomes of calls that an upstream may have billed, though it told nothing."""

_LINKS: Final = (b'"image_url"', b'"input_audio"', b'"file_id"')


class Allowance(Protocol):
    """What may be spent without any tenant's paying for it."""

    @property
    def has_left(self) -> bool:
        """Something may be begun."""
        ...

    def spend(self, cost_usd: Decimal) -> None:
        """It cost so much."""
        ...


class Till:
    """Knows the prices. Holds nothing between two climbs."""

    def __init__(
        self,
        *,
        admission: Admission,
        ladder: Ladder,
        most_calls: Sequence[int],
        may_mend: Callable[[ChatRequest], bool],
        answer_tokens: int,
        background: Allowance,
    ) -> None:
        """Set up.

        Args:
            admission: Whose budgets they are.
            ladder: The prices.
            most_calls: By place, how many calls for one answer may be billed: two where hedged.
            may_mend: An answer to it may be sent back once, to be mended.
            answer_tokens: The longest answer reckoned with where a request sets no limit.
            background: Pays for what no tenant asked for.
        """
        self._admission = admission
        self._ladder = ladder
        self._most_calls = most_calls
        self._may_mend = may_mend
        self._answer_tokens = answer_tokens
        self._background = background

    def paid(self, ledger: Ledger, aim: Aim) -> AbstractContextManager[Aim] | None:
        """`aim`, narrowed to what can be paid for; at the end of the block it is paid.

        None where nobody counts: the config does not name the tenant.

        Raises, when the block begins:
            BudgetSpent: Nothing can.
            RateLimited: The minute's tokens are used up.
        """
        inquiry, admission = ledger.inquiry, self._admission
        if inquiry.is_background:
            return self._paid_by_nobody(ledger, aim)
        if not admission.knows(inquiry.caller):
            return None
        if not admission.is_limited(inquiry.caller):
            return self._counted(ledger, aim)
        return self._reserved(ledger, aim)

    @contextmanager
    def _counted(self, ledger: Ledger, aim: Aim) -> Iterator[Aim]:
        try:
            yield aim
        finally:
            self._admission.spend(ledger.inquiry.caller, _billed(ledger)[1])
            self._saw_answers(ledger)

    @contextmanager
    def _reserved(self, ledger: Ledger, aim: Aim) -> Iterator[Aim]:
        worst_usd = self._worst_usd(ledger, aim)
        hold = self._hold(ledger, worst_usd)
        narrowed = _narrowed(aim, hold.reservation.tiers)
        if narrowed is not aim:
            ledger.aim, ledger.narrowed = narrowed, "budget"
        was_cut = True
        try:
            yield narrowed
            was_cut = False
        except SidecarError:
            was_cut = False
            raise
        finally:
            costs_usd = dict(zip(aim.target.allowed, worst_usd, strict=True))
            untold_usd = _untold_usd(ledger, costs_usd)
            if was_cut:
                untold_usd += _under_way_usd(ledger, costs_usd)
            self._settle(ledger, hold, untold_usd, was_cut=was_cut)

    def check(self, ledger: Ledger, aim: Aim) -> None:
        """Raises what `paid` would raise, and takes nothing."""
        hold = self._hold(ledger, self._worst_usd(ledger, aim))
        self._admission.settle(hold, tokens=0, cost_usd=Decimal(0))

    def _hold(self, ledger: Ledger, worst_usd: Sequence[Decimal]) -> Hold:
        inquiry, limit = ledger.inquiry, _limit(ledger.inquiry.request.body)
        return self._admission.hold(
            inquiry.caller,
            inquiry.user,
            tokens_in=inquiry.request.tokens_in,
            answer_tokens=None if limit is None else limit * _choices(inquiry.request),
            worst_usd=worst_usd,
        )

    def _settle(self, ledger: Ledger, hold: Hold, untold_usd: Decimal, *, was_cut: bool) -> None:
        tokens, billed_usd = _billed(ledger)
        # What nobody told is taken from what was reserved, and from nothing beyond it.
        most_usd = max(billed_usd, hold.reservation.worst_usd)
        self._admission.settle(
            hold,
            tokens=max(tokens, int(hold.tokens)) if was_cut else tokens,
            cost_usd=min(billed_usd + untold_usd, most_usd),
        )
        self._saw_answers(ledger)

    def _saw_answers(self, ledger: Ledger) -> None:
        for attempt in ledger.attempts:
            if attempt.body is not None:
                self._admission.rates.saw_answer(ledger.inquiry.caller.tenant, attempt.tokens_out)

    @contextmanager
    def _paid_by_nobody(self, ledger: Ledger, aim: Aim) -> Iterator[Aim]:
        if not self._background.has_left:
            raise BudgetSpent(
                "the budget for background work is spent", reason="background", may_retry=True
            )
        try:
            yield aim
        finally:
            self._background.spend(_billed(ledger)[1])

    def _worst_usd(self, ledger: Ledger, aim: Aim) -> list[Decimal]:
        """What each tier that may be asked adds at worst; nothing for who has no budget to hold."""
        places, request = aim.target.allowed, ledger.inquiry.request
        if not self._admission.has_budget(ledger.inquiry.caller):
            return [Decimal(0)] * len(places)
        tokens_in, limit = most_tokens_in(request), _limit(request.body)
        asked = [self._call_usd(request, place, tokens_in, limit) for place in places]
        if not self._may_mend(request):
            return asked
        # Once in a climb the answer is sent back to be mended: to the dearest tier, at worst.
        mended = [self._call_usd(request, p, tokens_in + MEND_TOKENS, limit) for p in places]
        dearest = [Decimal(0), *accumulate(mended, max)]
        return [
            usd + after - before
            for usd, (before, after) in zip(asked, pairwise(dearest), strict=True)
        ]

    def _call_usd(
        self, request: ChatRequest, place: int, tokens_in: int, limit: int | None
    ) -> Decimal:
        tier = self._ladder[place]
        tokens_out = self._most_tokens_out(request, limit, tier)
        return self._most_calls[place] * cost(tier.price, tokens_in, tokens_out)

    def _most_tokens_out(self, request: ChatRequest, limit: int | None, tier: Tier) -> int:
        each = self._answer_tokens if limit is None else limit
        if tier.context_tokens is not None:
            each = min(each, tier.context_tokens)
        return each * _choices(request)


def most_tokens_in(request: ChatRequest) -> int:
    """More tokens than the prompt can have, tools and all."""
    raw = orjson.dumps(request.body)
    return len(raw) + LINKED_TOKENS * sum(map(raw.count, _LINKS))


def _limit(body: Mapping[str, Any]) -> int | None:
    """The longest answer that the request allows, in tokens; None if it sets none."""
    told = body.get("max_completion_tokens") or body.get("max_tokens")
    return max(1, told) if told else None


def _choices(request: ChatRequest) -> int:
    return max(1, request.body.get("n") or 1)


def _narrowed(aim: Aim, tiers: int) -> Aim:
    if tiers == len(aim.target.allowed):
        return aim
    target = replace(aim.target, allowed=aim.target.allowed[:tiers])
    return replace(aim, target=target, permit=aim.permit._replace(write=False))


def _billed(ledger: Ledger) -> tuple[int, Decimal]:
    """Tokens and dollars of all calls that were made."""
    attempts = ledger.attempts
    tokens = sum(attempt.tokens_in + attempt.tokens_out for attempt in attempts)
    return tokens, sum((attempt.cost_usd for attempt in attempts), Decimal(0))


def _untold_usd(ledger: Ledger, costs_usd: Mapping[int, Decimal]) -> Decimal:
    """The worst case of the calls that ended midway, and told no usage."""
    untold = (each.place for each in ledger.attempts if each.outcome in _UNTOLD)
    return sum((costs_usd.get(place, Decimal(0)) for place in untold), Decimal(0))


def _under_way_usd(ledger: Ledger, costs_usd: Mapping[int, Decimal]) -> Decimal:
    """The worst case of the call that was cut: the entry tier's, or a later one's."""
    if not ledger.attempts and ledger.decision is not None:
        return costs_usd.get(ledger.decision.entry, Decimal(0))
    last = ledger.attempts[-1].place if ledger.attempts else -1
    return max((usd for place, usd in costs_usd.items() if place >= last), default=Decimal(0))
