"""What became of the calls to one model at one upstream in, whether it may be asked now out.

Rule 1: closed lets every call through; open lets none; half_open lets one through, the trial.
Rule 2: closed opens on a run of failures, on a share of them in the window, or on a refused key.
Rule 3: open turns half_open when its time is over and somebody asks, never by itself.
Rule 4: a trial that answers closes it; one that fails opens it for twice as long; one that was left
        (the caller went) gives the trial to the next who asks. There are never two at once.
Rule 5: a call that was let through before the last change of state says nothing about this one.

No I/O and no clock: instants are handed in, in seconds of any monotonic clock, never decreasing.
Source: M. Nygard, Release It! (2nd ed.), section 5.2; the share in a window with a minimum of calls
is Hystrix's, the run of failures that of Envoy's outlier detection (`consecutive_5xx`).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import Final, NamedTuple

_BUCKETS: Final = 10
"""Chosen: the window forgets a tenth of itself at a time, and holds ten pairs of numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerConfig:
    """When an upstream is left alone, and for how long.

    Attributes:
        enabled: False lets every call through, whatever became of the others.
        run: Failures one after the other that open it.
        failure_ratio: Share of failures in the window that opens it.
        min_calls: Calls in the window before their share means anything.
        window_s: Length of the window.
        open_s: How long it stays open the first time; each trial that fails doubles it.
        max_open_s: Up to so long.
        key_open_s: How long it stays open after the upstream refused our key.
        slow_s: A call cut short by its caller's deadline counts as a failure if it had so long.

    Raises:
        ValueError: A number is out of its range; the message names it.
    """

    enabled: bool = True
    # Chosen: so that a vendor that fails three calls in ten, and is worth asking, is hardly ever
    # shut: ten failures in a row are then one in 240,000 calls, and half of fifty one in 420. With
    # Envoy's five in a row it would be shut once in 600 calls, and who has no other loses answers.
    run: int = 10
    failure_ratio: float = 0.5
    min_calls: int = 50
    window_s: float = 60.0
    # Chosen: most hiccups are over in a second; what lasts is soon asked once a minute.
    open_s: float = 1.0
    max_open_s: float = 60.0
    # Chosen: nobody mends a key in less, and a reload that brings a new one begins anew at once.
    key_open_s: float = 300.0
    # Chosen: a caller who allows less says something of himself; beyond it, of the upstream.
    slow_s: float = 30.0

    def __post_init__(self) -> None:
        for name in ("run", "min_calls", "window_s", "open_s", "max_open_s", "key_open_s"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, is {getattr(self, name)}")
        if not 0.0 < self.failure_ratio <= 1.0:
            raise ValueError(f"failure_ratio must be above 0 and at most 1: {self.failure_ratio}")
        if self.slow_s < 0:
            raise ValueError("slow_s must not be negative")


class State(Enum):
    """Whether calls go through."""

    CLOSED = "closed"
    HALF_OPEN = "half_open"
    OPEN = "open"

    @property
    def gauge(self) -> int:
        """As a number that rises with the trouble: 0, 1, 2."""
        return list(State).index(self)


class Ticket(NamedTuple):
    """A call that was let through; handed back with what became of it."""

    term: int
    is_trial: bool


class Breaker:
    """One model at one upstream. Owned by the event loop's thread.

    Attributes:
        config: May be replaced by a reload; holds from the next call on.
    """

    def __init__(self, config: BreakerConfig) -> None:
        self.config = config
        self._state = State.CLOSED
        self._term = 0
        self._ticket = Ticket(0, is_trial=False)  # of this term's calls, but for a trial
        self._run = 0
        self._window: deque[list[float]] = deque(maxlen=_BUCKETS)  # [begun_s, calls, failures]
        self._opened_times = 0
        self._until_s = 0.0
        self._is_trial_out = False

    def state(self, now_s: float) -> State:
        """What it would be if somebody asked now."""
        is_over = self._state is State.OPEN and now_s >= self._until_s
        return State.HALF_OPEN if is_over else self._state

    def may_admit(self, now_s: float) -> bool:
        """`admit` would let a call through; changes nothing."""
        if self._state is State.CLOSED or not self.config.enabled:
            return True
        return self.state(now_s) is State.HALF_OPEN and not self._is_trial_out

    def admit(self, now_s: float) -> Ticket | None:
        """A ticket if a call may be made now; it must be handed back, whatever becomes of it."""
        if self._state is State.CLOSED or not self.config.enabled:
            return self._ticket
        if not self.may_admit(now_s):
            return None
        if self._state is State.OPEN:
            self._turn(State.HALF_OPEN)
        self._is_trial_out = True
        return Ticket(self._term, is_trial=True)

    def retry_after_s(self, now_s: float) -> float:
        """Seconds until a trial may be made; 0 if one may be now, or is under way."""
        return max(0.0, self._until_s - now_s) if self._state is State.OPEN else 0.0

    def succeeded(self, ticket: Ticket, now_s: float) -> None:
        """The call was answered."""
        if ticket.term != self._term:
            return
        if ticket.is_trial:
            self._turn(State.CLOSED)
            self._opened_times = 0
        self._run = 0
        self._count(now_s, failed=0)

    def failed(self, ticket: Ticket, now_s: float, at_least_s: float = 0.0) -> None:
        """The call failed; the upstream asked to be left alone for `at_least_s`."""
        if ticket.term != self._term:
            return
        if ticket.is_trial:
            self._open(now_s, at_least_s)
            return
        self._run += 1
        self._count(now_s, failed=1)
        if self.config.enabled and self._has_failed(now_s):
            self._open(now_s, at_least_s)

    def refused_key(self, ticket: Ticket, now_s: float) -> None:
        """The upstream refused our key: nobody else need hear it."""
        if ticket.term == self._term and self.config.enabled:
            self._turn(State.OPEN)
            self._until_s = now_s + self.config.key_open_s

    def left(self, ticket: Ticket) -> None:
        """The call ended in a way that says nothing about the upstream."""
        if ticket.term == self._term and ticket.is_trial:
            self._is_trial_out = False

    def _has_failed(self, now_s: float) -> bool:
        if self._run >= self.config.run:
            return True
        recent = [row for row in self._window if row[0] > now_s - self.config.window_s]
        calls, failures = sum(row[1] for row in recent), sum(row[2] for row in recent)
        return calls >= self.config.min_calls and failures >= self.config.failure_ratio * calls

    def _count(self, now_s: float, *, failed: int) -> None:
        width_s = self.config.window_s / _BUCKETS
        if not self._window or now_s >= self._window[-1][0] + width_s:
            self._window.append([now_s, 0, 0])
        self._window[-1][1] += 1
        self._window[-1][2] += failed

    def _open(self, now_s: float, at_least_s: float) -> None:
        doubled_s = self.config.open_s * 2.0 ** min(self._opened_times, 32)
        self._opened_times += 1
        self._turn(State.OPEN)
        self._until_s = now_s + min(max(doubled_s, at_least_s), self.config.max_open_s)

    def _turn(self, state: State) -> None:
        self._state = state
        self._term += 1
        self._ticket = Ticket(self._term, is_trial=False)
        self._run = 0
        self._window.clear()
        self._is_trial_out = False
