"""Two tokenised questions in, the verifier's inputs out: the same code trains it and serves it.

Beside its segment each token says whether the other question has it too. A small cross-encoder
finds by that in its first layer what a large one has to learn: which words tell the two apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

KINDS: Final = 4
"""Token kinds: segment 0 or 1, and beside it 0 = the other question has it too, 2 = it has not."""

MAX_TOKENS: Final = 128
"""Chosen: of both together. Nearly all questions are shorter, and a longer pair gets no verdict."""

Ids = Sequence[int]
PairTokens = tuple[list[int], list[int]]


def joined(one: Ids, other: Ids) -> PairTokens:
    """Ids and kinds of `[CLS] one [SEP] other [SEP]`; each comes with its own `[CLS]`, `[SEP]`."""
    both = set(one) & set(other)
    ids = [*one, *other[1:]]
    kinds = [0 if token in both else 2 for token in one]
    kinds += [1 if token in both else 3 for token in other[1:]]
    return ids, kinds


def feed(pairs: Sequence[PairTokens]) -> dict[str, NDArray[np.int64]]:
    """The graph's inputs: (n, longest) int64 each, padded with 0 and masked there."""
    width = max(len(ids) for ids, _ in pairs)
    input_ids = np.zeros((len(pairs), width), np.int64)
    kinds, mask = np.zeros_like(input_ids), np.zeros_like(input_ids)
    for row, (ids, kind) in enumerate(pairs):
        input_ids[row, : len(ids)], kinds[row, : len(ids)] = ids, kind
        mask[row, : len(ids)] = 1
    return {"input_ids": input_ids, "attention_mask": mask, "token_type_ids": kinds}
