"""Two questions and how near they lie in, the risk that the hit is false out: the second look.

The cheap stage is asked first: the cosine and what the guard sees. What it forbids or finds too
risky ends there. What is left in doubt is put to the verifier, where there is one, and the risk is
that of the model that was told the verdict. No verdict is a no: the look fails closed. Where no
verdict could make it a yes, none is asked for.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from cache.entry import EntryId, MissReason
from cache.errors import RiskModelError
from cache.guard import Comparison
from cache.risk import NEAR_RATIO, RiskModel
from cache.verdicts import Verdicts
from cache.verifier import Verifier, clipped

MAX_VERDICTS: Final = 2
"""Chosen: of all candidates for one question the verifier is asked of so few, those of least risk,
and of no more once one may be served: a verdict takes some 1.7 ms of the encoder's thread."""


class Opinion(NamedTuple):
    """What a look found.

    Attributes:
        risk: Chance in [0, 1] that the kept answer would not serve.
        reason: Why it may not be served; None if it may.
        detail: That reason in words.
        is_doubtful: Only a verdict can settle it.
        verdict: The verifier's logit; None if it was not asked, or gave none.
    """

    risk: float
    reason: MissReason | None
    detail: str
    is_doubtful: bool = False
    verdict: float | None = None


class SecondLook:
    """The risk models and the verifier, at one bound. The verifier's owner thread owns it.

    Attributes:
        limit: Risk up to which hits are served; None if the bound cannot be held.
    """

    def __init__(
        self,
        risk: RiskModel,
        max_false_hit_rate: float,
        verified: RiskModel | None = None,
        verifier: Verifier | None = None,
    ) -> None:
        """`verified` and `verifier` come together, or neither.

        Raises:
            RiskModelError: The model was fitted on another verifier's verdicts, or on none.
        """
        if verifier is not None and (verified is None or verified.verifier != verifier.digest):
            raise RiskModelError("the risk model was not fitted on this verifier's verdicts")
        self._cheap, self._bound = risk, max_false_hit_rate
        self._verified = verified if verifier is not None else None
        self._verdicts = Verdicts(verifier) if verifier is not None else None
        self.limit = (self._verified or risk).limit(max_false_hit_rate)

    def go_on_alone(self) -> None:
        """Have the cheap stage decide without the verifier, by its own limit, from now on."""
        self._verified = self._verdicts = None
        self.limit = self._cheap.limit(self._bound)

    @property
    def is_verified(self) -> bool:
        """A verifier is asked."""
        return self._verdicts is not None

    def first(self, similarity: float, comparison: Comparison) -> Opinion:
        """What the cheap stage thinks, in microseconds."""
        risk = self._cheap.risk(similarity, comparison)
        if comparison.veto:
            return Opinion(risk, MissReason.VETO, comparison.veto)
        if self.limit is None:
            return _too_risky(risk, None)
        if self._verified is None or comparison.is_restated:
            return _weighed(risk, self.limit)
        assert self._verified.doubt is not None  # noqa: S101 - the file's reader refuses it
        if risk > self._verified.doubt:
            return _too_risky(risk, self._verified.doubt)
        return Opinion(risk, MissReason.RISKY, "not looked at twice", is_doubtful=True)

    def second(
        self,
        kept: str,
        asked: str,
        similarity: float,
        comparison: Comparison,
        first: Opinion,
        *,
        entry_id: EntryId | None = None,
        is_nearest: bool = False,
    ) -> Opinion:
        """What is thought of a doubtful one once the verifier was asked; of others as before.

        `entry_id` is that of `kept`, by which the verdict is remembered. Of the nearest it is also
        told apart whether it is a near miss.
        """
        if not first.is_doubtful or self._verdicts is None or self._verified is None:
            return first
        least = self._verified.least(similarity, comparison)
        if self.limit is not None and least > self.limit * (NEAR_RATIO if is_nearest else 1.0):
            return _too_risky(least, self.limit)
        verdict = self._verdicts.verdict(entry_id, kept, asked)
        if verdict is None or self.limit is None:
            return Opinion(first.risk, MissReason.RISKY, "the verifier gave no verdict")
        told = self._verified.risk(similarity, comparison, clipped(verdict))
        return _weighed(told, self.limit)._replace(verdict=verdict)


def _weighed(risk: float, limit: float) -> Opinion:
    return Opinion(risk, None, "") if risk <= limit else _too_risky(risk, limit)


def _too_risky(risk: float, limit: float | None) -> Opinion:
    told = "none" if limit is None else f"{limit:.3f}"
    return Opinion(risk, MissReason.RISKY, f"risk {risk:.3f} > {told}")
