"""The traffic log in; what its requests were answered, and how good that was, out as examples."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from pathlib import Path
from typing import Final, NamedTuple

from router.signals import conclusion, normalised
from sidecar.disk.sealing import AesGcm
from sidecar.traffic.reader import read_folder
from sidecar.traffic.record import (
    AttemptRecord,
    FeedbackRecord,
    RequestRecord,
    ShadowRecord,
    unpacked_vector,
)
from train.samples.examples import Answered, Example

MAX_WEIGHT: Final = 10.0
"""Chosen: a request drawn with a chance below a tenth counts as ten, not more, so that one rare
draw does not outweigh the rest (Ionides, "Truncated importance sampling", 2008)."""

AGREEMENT_WEIGHT: Final = 0.5
"""Chosen: two tiers that agree may both be wrong, and of two that differ either may be right.
Measured on tier3: where the small and the medium agree the medium is right in 81 %, else 49 %."""

HELD_OUT: Final = 5
"""Chosen: a fifth fewer labels cost a fit little, and a gate needs some of its own."""


def is_held_out(request_id: str) -> bool:
    """One request in five is never fitted on: of a log that both read, the gate asks those."""
    digest = hashlib.blake2b(request_id.encode(), digest_size=8, person=b"held-out").digest()
    return int.from_bytes(digest, "big") % HELD_OUT == 0


def read_traffic(
    folder: Path, encoder_id: str, cipher: AesGcm | None = None, *, for_fit: bool = False
) -> list[Example]:
    """Every request of the log of which something is known, with that as its labels.

    `for_fit` leaves out those that are held out.

    A score speaks of the served tier's answer. A right answer, if given, labels every attempt by
    comparing conclusions, and what other tiers said in shadow. A reviewer's word counts before the
    caller's, then the last one. Feedback of another tenant counts for nothing. An answer that broke
    a rule of the operator's was wrong. Where nobody spoke, the served answer is held against the
    next tier's, if that was asked too. `cipher` opens what is sealed.

    Raises:
        TrafficError: There is no log there, or a record is none that this version knows.
    """
    return [
        example
        for heard in read_heard(folder, cipher)
        if not (for_fit and is_held_out(heard.request.request_id))
        and (example := _labelled(heard, encoder_id)) is not None
    ]


class Heard(NamedTuple):
    """A request that asked somebody, what counts of what was said of it, and other tiers' words."""

    request: RequestRecord
    feedback: FeedbackRecord | None
    shadows: tuple[ShadowRecord, ...]


def read_heard(folder: Path, cipher: AesGcm | None = None) -> list[Heard]:
    """The requests of the log that asked somebody, each with what its own tenant said of it.

    Raises:
        TrafficError: There is no log there, or a record is none that this version knows.
    """
    requests: dict[tuple[str, str], RequestRecord] = {}
    feedback: dict[tuple[str, str], FeedbackRecord] = {}
    shadows: dict[tuple[str, str], list[ShadowRecord]] = defaultdict(list)
    for record in read_folder(folder, cipher):
        key = (record.tenant, record.request_id)
        if isinstance(record, FeedbackRecord):
            said = feedback.get(key)
            if said is None or record.source >= said.source:  # a reviewer's word stands
                feedback[key] = record
        elif isinstance(record, ShadowRecord):
            shadows[key].append(record)
        elif record.question and record.attempts:
            requests[key] = record
    return [
        Heard(request, feedback.get(key), tuple(shadows.get(key, ())))
        for key, request in requests.items()
    ]


def label_of(attempt: AttemptRecord, heard: Heard) -> float | None:
    """What is known of one attempt: a reviewer's word, a broken rule, feedback, the next tier's."""
    told, is_served = heard.feedback, attempt.tier == heard.request.served_tier
    is_reviewed = told is not None and told.source == "review"
    if attempt.guardrail and not (is_served and is_reviewed):
        return 0.0  # whatever it said: it broke a rule of the operator's
    if is_served and told is not None and told.score is not None:
        return min(1.0, max(0.0, told.score))
    if told is not None and told.correct_answer and attempt.answer:
        return float(says_same(attempt.answer, told.correct_answer))
    labels = (shadow.label for shadow in heard.shadows if is_served)
    return next((label for label in labels if label is not None), None)


def says_same(said: str, right: str) -> bool:
    """Both come to the same conclusion; where none is drawn, they are the same words."""
    reached, wanted = (conclusion(text) or normalised(text) for text in (said, right))
    return reached == wanted


def _labelled(heard: Heard, encoder_id: str) -> Example | None:
    request = heard.request
    answers = {
        attempt.tier: Answered(
            text=attempt.answer,
            tokens_in=attempt.tokens_in,
            tokens_out=attempt.tokens_out,
            cost_usd=float(attempt.cost_usd),
            correct=label_of(attempt, heard),
            finish_reason=attempt.finish_reason,
            confidence=attempt.confidence,
        )
        for attempt in request.attempts
        if attempt.outcome == "answered"
    }
    in_shadow = _shadowed(heard)
    answers |= {tier: told for tier, told in in_shadow.items() if tier not in answers}
    if all(answer.correct is None for answer in answers.values()):
        return None
    is_same = request.encoder_id == encoder_id
    weight = min(MAX_WEIGHT, 1.0 / max(request.propensity, 1e-6))
    is_said = heard.feedback is not None or any(a.guardrail for a in request.attempts)
    return Example(
        query=request.question,
        answers=answers,
        vector=unpacked_vector(request.vector) if is_same else None,
        weight=weight if is_said else weight * AGREEMENT_WEIGHT,
        artifact=request.artifact,
        at=request.at,
    )


def _shadowed(heard: Heard) -> dict[str, Answered]:
    """What was said in shadow, by tier; a right answer, if one was given, labels it."""
    right = heard.feedback.correct_answer if heard.feedback is not None else ""
    return {
        shadow.tier: Answered(
            text=shadow.answer,
            tokens_in=shadow.tokens_in,
            tokens_out=shadow.tokens_out,
            cost_usd=float(shadow.cost_usd),
            correct=float(says_same(shadow.answer, right)) if right else None,
            share=shadow.propensity,
        )
        for shadow in heard.shadows
        if shadow.answer and shadow.tokens_in  # a log of before tells no tokens
    }
