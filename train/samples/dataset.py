"""Questions with several tiers' answers in, the examples that every verb of training reads out."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, NamedTuple, Protocol

import numpy as np
import orjson
from numpy.typing import NDArray
from tqdm import tqdm

from router.decision import AnswerView, Task
from router.readings import Readings
from router.signals import conclusion, normalised
from sidecar.disk.sealing import AesGcm
from sidecar.encoder.bundle import EncoderConfig, Precision
from sidecar.encoder.onnx import OnnxEncoder
from sidecar.traffic.reader import read_folder
from sidecar.traffic.record import (
    AttemptRecord,
    FeedbackRecord,
    RequestRecord,
    ShadowRecord,
    unpacked_vector,
)
from train.errors import DataError
from train.samples.rows import opened

Vectors = NDArray[np.float32]

MAX_WEIGHT: Final = 10.0
"""Chosen: a request drawn with a chance below a tenth counts as ten, not more, so that one rare
draw does not outweigh the rest (Ionides, "Truncated importance sampling", 2008)."""

AGREEMENT_WEIGHT: Final = 0.5
"""Chosen: two tiers that agree may both be wrong, and of two that differ either may be right.
Measured on tier3: where the small and the medium agree the medium is right in 81 %, else 49 %."""

HELD_OUT: Final = 5
"""Chosen: a fifth fewer labels cost a fit little, and a gate needs some of its own."""

BATCH: Final = 32
SHARD: Final = 1024
"""Chosen: texts encoded between two saves; what an interruption costs at most."""


class Vectorised(Protocol):
    """What encoding gives."""

    @property
    def vectors(self) -> Vectors:
        """(n, dim) float32, each of length 1."""
        ...


class TextEncoder(Protocol):
    """The half of the encoder that training needs."""

    @property
    def encoder_id(self) -> str:
        """Whose vectors these are."""
        ...

    def encode(self, texts: Sequence[str]) -> Vectorised:
        """One vector a text, in order."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """One tier's answer to one question.

    Attributes:
        text: What it said.
        tokens_in: Prompt tokens.
        tokens_out: Completion tokens.
        cost_usd: What it cost.
        correct: How good it was, 0 to 1; None if nobody said.
        finish_reason: The vendor's word.
        confidence: The chance of sufficing that it was judged by; None if it was not judged.
        share: The chance with which it was asked, given what was asked before: 1 on the climb,
            less where it was asked in shadow.
    """

    text: str
    tokens_in: int
    tokens_out: int
    cost_usd: float
    correct: float | None
    finish_reason: str = "stop"
    confidence: float | None = None
    share: float = 1.0

    @property
    def view(self) -> AnswerView:
        """As the router's judgement sees it."""
        return AnswerView(
            text=self.text, finish_reason=self.finish_reason, tokens_out=self.tokens_out
        )


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Example:
    """One question, and what is known of the tiers' answers to it.

    Attributes:
        query: The text that is embedded.
        answers: By tier.
        domain: Where it comes from, for tables by domain; empty if not said.
        vector: (dim,) float32, if it came with the record.
        weight: One over the chance with which its entry tier was drawn, at most MAX_WEIGHT.
        artifact: Version of the artifact that routed and judged it; empty if none did.
        at: When it was asked first, in seconds since the epoch; 0 if that is not known.
    """

    query: str
    answers: Mapping[str, Answered]
    domain: str = ""
    vector: NDArray[np.float32] | None = None
    weight: float = 1.0
    artifact: str = ""
    at: float = 0.0

    @property
    def tokens_in(self) -> int:
        """Prompt tokens, as the first answer was billed for them."""
        return next(iter(self.answers.values())).tokens_in

    def task(self, vector: NDArray[np.float32], tiers: int, quality: float) -> Task:
        """The router's task for it, every tier allowed."""
        return Task(
            text=self.query,
            vector=vector,
            tokens_in=self.tokens_in,
            turns=1,
            allowed=tuple(range(tiers)),
            quality=quality,
            readings=Readings(),
        )


def read_tier3(paths: Sequence[Path]) -> list[Example]:
    """The examples of JSON Lines files (`.gz` too) in the tier3 format.

    Raises:
        DataError: A file cannot be read or a line is no such row; file and line are named.
    """
    return [example for path in paths for example in _tier3_file(path)]


def _tier3_file(path: Path) -> Iterator[Example]:
    number = 0
    try:
        with opened(path) as file:
            for number, line in enumerate(file, 1):  # noqa: B007 - the faults below name it
                row = orjson.loads(line)
                answers = {
                    tier: Answered(
                        text=told["text"],
                        tokens_in=int(told["tok_in"]),
                        tokens_out=int(told["tok_out"]),
                        cost_usd=float(told["cost_usd"]),
                        correct=_gold(told["correct"]),
                    )
                    for tier, told in row["answers"].items()
                }
                yield Example(
                    query=row["query"].strip(), answers=answers, domain=row.get("domain", "")
                )
    except OSError as fault:
        raise DataError(f"{path} cannot be read: {fault.strerror or fault}") from fault
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError) as fault:
        raise DataError(f"{path}, line {number}: no tier3 row: {fault!r}") from fault


def _gold(told: object) -> float:
    if told is None:
        raise ValueError("the answers are not labelled: `train label` does that")
    return float(told)  # type: ignore[arg-type] # what is no number is told as a faulty line


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


def load_encoder(precision: Precision | Literal["auto"] = "auto") -> TextEncoder:
    """The encoder that serving uses, or one of its other precisions."""
    return OnnxEncoder.load(EncoderConfig(precision=precision))


def vectors_of(examples: Sequence[Example], encoder: TextEncoder, work: Path) -> Vectors:
    """(n, dim) float32: each example's own vector, or its text encoded.

    What was encoded is kept in `work` shard by shard, so that an interrupted run goes on where it
    stopped; the name tells encoder and text, so that a kept vector never stands for another.
    """
    missing = [example.query for example in examples if example.vector is None]
    made = iter(encode_texts(missing, encoder, work))
    found = [next(made) if e.vector is None else e.vector for e in examples]
    return np.array(found, np.float32)


def encode_texts(texts: Sequence[str], encoder: TextEncoder, work: Path) -> Vectors:
    """(n, dim) float32, from kept shards where there are any."""
    work.mkdir(parents=True, exist_ok=True)
    shards = [texts[start : start + SHARD] for start in range(0, len(texts), SHARD)]
    bar = tqdm(shards, desc="encode", unit="k", disable=len(shards) < 2, delay=1)  # noqa: PLR2004 - one is quick
    parts = [_shard(shard, encoder, work) for shard in bar]
    return np.concatenate(parts) if parts else np.empty((0, 0), np.float32)


def _shard(texts: Sequence[str], encoder: TextEncoder, work: Path) -> Vectors:
    name = hashlib.sha256("\0".join([encoder.encoder_id, *texts]).encode()).hexdigest()[:24]
    path = work / f"vectors-{name}.npy"
    if path.exists():
        kept: Vectors = np.load(path, allow_pickle=False)
        return kept
    # Texts of like length share a batch, so that little of it is padding.
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    rows: list[Vectors] = [np.empty(0, np.float32)] * len(texts)
    for start in range(0, len(order), BATCH):
        batch = order[start : start + BATCH]
        found = encoder.encode([texts[i] for i in batch]).vectors
        for i, vector in zip(batch, found, strict=True):
            rows[i] = vector
    made = np.stack(rows).astype(np.float32)
    torn = path.with_suffix(".part.npy")
    np.save(torn, made, allow_pickle=False)
    torn.replace(path)
    return made


def file_hashes(paths: Iterable[Path]) -> dict[str, str]:
    """The sha256 of each file, by its name."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
