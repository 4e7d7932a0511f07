"""Labelled pairs in, a trained cross-encoder out: batches in the order that a seed decides.

A checkpoint is kept every so often, and the same call goes on from it as if it had not stopped.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Final

import numpy as np
import torch

from sidecar.encoder.pairs import PairTokens, feed, joined
from sidecar.encoder.tokenizer import Tokenizer
from train.errors import DataError
from train.similarity.crossencoder import CrossEncoder, tensors
from train.similarity.pairs import Pair, mass

BATCH: Final = 32
"""Chosen: pairs of like length in one step."""

POOL: Final = 32
"""Chosen: batches that are sorted by length together."""

HEAD_HURRY: Final = 5.0
"""Chosen: the head begins at nothing and learns so much faster."""

WARM_UP: Final = 0.06
"""Chosen: share of the steps in which the rate rises."""

SAVE_EVERY: Final = 200
"""Chosen: steps between two checkpoints, some minute each."""

CHECKPOINT: Final = "checkpoint.pt"

Batch = list[tuple[PairTokens, float]]


class Tokens(dict[str, tuple[int, ...]]):
    """A text's ids, found once."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__()
        self._tokenizer = tokenizer

    def __missing__(self, text: str) -> tuple[int, ...]:
        self[text] = self._tokenizer.tokenize(text).ids
        return self[text]


def batches(rows: Sequence[Pair], tokens: Tokens, steps: int, seed: int) -> Iterator[Batch]:
    """`steps` batches of pairs of like length; of a source both labels are drawn as often."""
    dice, chances = np.random.default_rng(seed), mass(rows)
    ready: list[Batch] = []
    for _ in range(steps):
        if not ready:
            drawn = [rows[int(place)] for place in dice.choice(len(rows), POOL * BATCH, p=chances)]
            pool = [(_turned(tokens, p, dice), float(p.is_same)) for p in drawn]
            pool.sort(key=lambda row: len(row[0][0]))
            ready = [pool[at * BATCH : (at + 1) * BATCH] for at in dice.permutation(POOL)]
        yield ready.pop()


def _turned(tokens: Tokens, pair: Pair, dice: np.random.Generator) -> PairTokens:
    """Either question first, unless only one way round was judged."""
    turns = not pair.is_directed and bool(dice.integers(2))
    one, other = (pair.other, pair.one) if turns else (pair.one, pair.other)
    return joined(tokens[one], tokens[other])


class Learner:
    """A cross-encoder, its optimiser and its rate: what a checkpoint holds."""

    def __init__(self, model: CrossEncoder, steps: int, rate: float) -> None:
        self.model = model
        self.steps = steps
        self.done = 0
        self.optimizer = torch.optim.AdamW(
            [
                {"params": model.bert.parameters(), "lr": rate},
                {"params": model.head.parameters(), "lr": HEAD_HURRY * rate},
            ],
            weight_decay=0.01,
        )
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, self._rate)

    def _rate(self, step: int) -> float:
        warm = max(1.0, WARM_UP * self.steps)
        return min((step + 1) / warm, max(0.0, (self.steps - step) / max(1.0, self.steps - warm)))

    def step(self, batch: Batch) -> float:
        """One step; returns the batch's loss before it."""
        labels = torch.tensor([label for _, label in batch])
        # Measured: bfloat16 products are half as fast again where the processor has them.
        with torch.autocast("cpu", torch.bfloat16):
            logits = self.model(*tensors(feed([pair for pair, _ in batch])))
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits.float(), labels)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.schedule.step()
        self.done += 1
        return float(loss.detach())

    def save(self, path: Path) -> None:
        """Whole or not at all."""
        part = path.with_suffix(".part")
        torch.save({**self._parts(), "done": self.done}, part)
        part.replace(path)

    def load(self, path: Path) -> None:
        """Go on from where `path` was saved; raises DataError if that was another network."""
        state = saved(path)
        try:
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
        except (RuntimeError, ValueError) as fault:
            raise DataError(f"{path} is of another network; choose another folder") from fault
        self.schedule.load_state_dict(state["schedule"])
        self.done = int(state["done"])

    def _parts(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
        }


def saved(path: Path) -> dict[str, Any]:
    """What a checkpoint holds; raises DataError if it is missing or torn."""
    try:
        return dict(torch.load(path, weights_only=True))
    except (OSError, EOFError, LookupError, RuntimeError, ValueError, UnpicklingError) as fault:
        raise DataError(f"{path} is no checkpoint: {fault}") from fault


def learn(learner: Learner, every: Iterator[Batch], kept: Path) -> None:
    """All steps that are left, from the checkpoint at `kept` if there is one."""
    if kept.exists():
        learner.load(kept)
    first, begun_s, losses = learner.done, time.perf_counter(), []
    learner.model.train()
    for batch in itertools.islice(every, first, None):
        losses.append(learner.step(batch))
        if learner.done % SAVE_EVERY == 0 or learner.done == learner.steps:
            learner.save(kept)
            pace = (learner.done - first) * BATCH / (time.perf_counter() - begun_s)
            print(
                f"step {learner.done} of {learner.steps}: loss {np.mean(losses):.4f}, "
                f"{pace:.0f} pairs a second",
                file=sys.stderr,
                flush=True,
            )
            losses = []
