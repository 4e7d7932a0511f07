"""An exact hit that was given, and what of it holds for whoever sends the same bytes again."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from sidecar.ledger import Inquiry, Ledger
from sidecar.stopwatch import Stopwatch
from sidecar.traffic.record import Pattern

_ACCOUNT_BYTES: Final = 4_000
"""Chosen: an account and what hangs on it, texts apart; `tracemalloc` says 2 to 3 kB."""

_TEXT_RATIO: Final = 4
"""Chosen: a parsed body takes up to four times the bytes that it came in."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Again:
    """One hit, and under what it was given.

    Attributes:
        ledger: Its account, closed.
        pipeline: The one that gave it: all that a config says stands in that.
        version: Of the router's artifact that its headers name.
        epoch: The newest invalidation.
        saved_usd: Of each one like it.
        pattern: Of their records.
    """

    ledger: Ledger
    pipeline: object
    version: str
    epoch: int
    saved_usd: Decimal
    pattern: Pattern

    def may_follow(self, newest: Again) -> bool:
        """It may be given yet, when `newest` was: nothing has changed since that it followed from.

        An entry that expired, or that the cache let go of, is not looked for.
        """
        is_same = self.pipeline is newest.pipeline and self.version == newest.version
        return is_same and self.epoch == newest.epoch

    def account(self, request_id: str, received_at: float, watch: Stopwatch) -> Ledger:
        """A new account, of the same request come again."""
        was, asked = self.ledger, self.ledger.inquiry
        inquiry = Inquiry(
            request_id=request_id,
            received_at=received_at,
            request=asked.request,
            options=asked.options,
            caller=asked.caller,
            deadline=asked.deadline,
            watch=watch,
            path=asked.path,
        )
        return Ledger(inquiry=inquiry, aim=was.aim, cache=was.cache, hit=was.hit, ruling=was.ruling)


def weight_bytes(request_bytes: int) -> int:
    """What it takes to remember one hit, roughly, whose request was so long."""
    return _ACCOUNT_BYTES + _TEXT_RATIO * request_bytes


def may_be_given_again(ledger: Ledger) -> bool:
    """It is an exact hit from memory, and nothing about its request is to be decided anew."""
    hit, inquiry = ledger.hit, ledger.inquiry
    return (
        hit is not None
        and ledger.cache == "hit-exact"
        and hit.store == "memory"
        and not ledger.ruling.switches
        and not inquiry.options.debug
        and inquiry.drill is None
        and not inquiry.is_background
    )
