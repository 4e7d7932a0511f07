"""One request's account, filled hop by hop by the pipeline and closed once by accounting."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final, Literal, NamedTuple

from cache.entry import Entry, Hit, Miss, MissReason, Vector
from cache.key import Keys
from cache.policy import Permit
from router.decision import Decision
from router.rules import NOTHING, Met
from sidecar.admission.tenants import Caller
from sidecar.chat import ChatRequest
from sidecar.deadline import Deadline
from sidecar.options import Options
from sidecar.outcome import Attempt, Degraded, Outcome
from sidecar.overrides.override import UNRULED, Ruling
from sidecar.replicas.drill import Drill
from sidecar.stopwatch import Stopwatch
from sidecar.targets import Target
from sidecar.values import value

CALLER_LEFT: Final = "CallerLeft"
CALLER_LEFT_STATUS: Final = 499
"""Source: nginx's word for "client closed request"; no standard status says it."""

CacheStatus = Literal["hit-exact", "hit-semantic", "miss", "coalesced", "stale", "bypass"]


@value(frozen=True, slots=True, eq=False, kw_only=True)
class Inquiry:
    """What came in through the door, read and checked.

    Attributes:
        request_id: Ours; the caller sees it, and feedback names it.
        received_at: Seconds since the epoch, UTC.
        request: The body.
        options: The headers.
        caller: Who asks.
        deadline: The instant by which the caller wants its answer.
        watch: Runs since the first byte was read.
        drill: A fault on purpose; nothing of the request is kept, counted or learnt from.
        is_background: Nobody waits for it: it is paid by no tenant.
        path: Of the URL that it came to.
    """

    request_id: str
    received_at: float
    request: ChatRequest
    options: Options
    caller: Caller
    deadline: Deadline
    watch: Stopwatch
    drill: Drill | None = None
    is_background: bool = False
    path: str = "/v1/chat/completions"

    @property
    def user(self) -> str:
        """Whom it is asked for: the header's word, else the body's; empty if neither says."""
        told = self.options.user or self.request.body.get("user")
        return told if isinstance(told, str) else ""


class FlightGroup(NamedTuple):
    """All in which two requests must be equal for one to follow the other by meaning.

    Attributes:
        partition: All of the request but the last question, the caller and his options included.
        epoch: The newest invalidation when it was aimed.
        allowed: Places on the ladder.
        quality: The point on the cost-quality curve.
        ruling: The operator's switches.
    """

    partition: bytes
    epoch: int
    allowed: tuple[int, ...]
    quality: float
    ruling: Ruling


@value(frozen=True, slots=True, eq=False, kw_only=True)
class Aim:
    """What was settled before anything was looked up or asked.

    Attributes:
        target: Which tiers may be asked.
        quality: The point on the cost-quality curve in force.
        permit: What the cache may do.
        keys: Fingerprint and partition.
        epoch: The newest invalidation when it was settled.
        ruling: The operator's switches when it was settled.
        met: The rules that the request meets, as far as they can be told without a vector.
        rule: The one that routes it; empty if none does, or none yet.
        is_steered: A goal holds for it, if there is one: it names no quality of its own.
    """

    target: Target
    quality: float
    permit: Permit
    keys: Keys
    epoch: int
    ruling: Ruling = UNRULED
    met: Met = NOTHING
    rule: str = ""
    is_steered: bool = False

    @property
    def flight_key(self) -> bytes:
        """Whom it may share a climb with: nobody from before an invalidation or a switch."""
        return self.keys.fingerprint + self.epoch.to_bytes(8, "big") + self.ruling.mark

    @property
    def flight_group(self) -> FlightGroup | None:
        """Whom it may share a climb with by meaning; None if with nobody."""
        permit, partition = self.permit, self.keys.partition
        if partition is None or not (permit.read and permit.write and permit.semantic):
            return None
        allowed = tuple(self.target.allowed)
        return FlightGroup(partition, self.epoch, allowed, self.quality, self.ruling)


class Balance(NamedTuple):
    """What an account comes to; response headers, metrics and the log's record read it.

    Attributes:
        tier: Whose answer it is, by name; empty if there is none, or nobody's on the ladder.
        model: Its model.
        cost_usd: What this request cost: nothing on a hit, nor for a follower who is not billed.
        saved_usd: Against answering it at the top tier, taken to use as many tokens; may be
            negative.
        version: Of the artifact that decided; where none had to, of the one that serves.
    """

    tier: str
    model: str
    cost_usd: Decimal
    saved_usd: Decimal
    version: str


@dataclass(slots=True, eq=False, kw_only=True)
class Ledger:
    """What is known of one request so far. Owned by its pipeline coroutine.

    Attributes:
        inquiry: What came in.
        aim: What was settled first; None if even that failed.
        cache: What the `x-sidecar-cache` header will say.
        hit: The entry that is served.
        miss: Why there is none; carries the vector.
        decision: Where the climb began.
        attempts: The calls made so far by the climb that this request leads.
        outcome: What became of it.
        degraded: Who stood in for whom was to answer; empty if nobody had to.
        relayed_place: The tier whose stream is being relayed as it comes.
        pays: This request is billed for the climb; of all who share it, one is.
        narrowed: What kept the upper tiers from being asked: `budget`, or empty.
        kept_id: The id under which the answer was kept.
        shareable: The answer that it led to, as it is kept; None if no other may be given it.
        status: HTTP status that the caller gets.
        error: The fault's class; empty if answered.
        ruling: The operator's switches when it came in.
        refused_by: The rule of `[guardrails]` that the request breaks; empty if it breaks none.
        balance: What it comes to, as accounting drew it once that was known.
        is_closed: Accounting has seen it.
    """

    inquiry: Inquiry
    aim: Aim | None = None
    cache: CacheStatus = "miss"
    hit: Hit | None = None
    miss: Miss | None = None
    decision: Decision | None = None
    attempts: list[Attempt] = field(default_factory=list)
    outcome: Outcome | None = None
    degraded: Degraded = ""
    relayed_place: int | None = None
    pays: bool = True
    narrowed: str = ""
    kept_id: int | None = None
    shareable: Entry | None = None
    status: int = 200
    error: str = ""
    ruling: Ruling = UNRULED
    refused_by: str = ""
    balance: Balance | None = None
    is_closed: bool = False

    @property
    def teaches(self) -> bool:
        """What is served may be watched, and asked again behind the caller's back."""
        return self.inquiry.drill is None and self.ruling.learns

    @property
    def upstreams(self) -> frozenset[str] | None:
        """Those that alone may be asked, and its caller be answered by; None for all."""
        return self.aim.target.upstreams if self.aim is not None else None

    @property
    def meaning(self) -> Vector | None:
        """The question's vector; None also where it was not embedded whole.

        A vector of half of it would stand for what it is not.
        """
        miss = self.miss
        return None if miss is None or miss.reason is MissReason.NO_MEANING else miss.vector

    @property
    def similarity(self) -> float | None:
        """Of what is served, or of the nearest that was not; None if nothing was compared."""
        if self.hit is not None:
            return self.hit.similarity
        return self.miss.nearest if self.miss is not None else None
