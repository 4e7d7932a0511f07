"""MiniLM's own weights in, a cross-encoder of its first layers out, and its ONNX graph.

The only user of torch for the verifier: loaded when it is trained, never when it is served.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from sidecar.encoder.graph import INPUTS
from sidecar.encoder.pairs import KINDS
from train.encoder import OPSET, load_reference

LOGIT: Final = "logit"
"""(n,) float32: the graph's one output."""

KEPT_FRONT: Final = 9000
"""Chosen: the vocabulary is sorted by frequency; so much of its front stays, seen or not."""

UNKNOWN: Final = 100
"""Source: `[UNK]` in BERT's vocabulary."""


class CrossEncoder(torch.nn.Module):
    """The chance, as a logit, that one answer serves both questions."""

    def __init__(self, bert: Any, kept: Sequence[int]) -> None:
        """`bert`: a BertModel to take over; `kept`: its tokens that stay, sorted."""
        super().__init__()
        words = bert.embeddings.word_embeddings.weight
        places = torch.full((len(words),), kept.index(UNKNOWN), dtype=torch.int32)
        places[list(kept)] = torch.arange(len(kept), dtype=torch.int32)
        self.register_buffer("places", places)
        self.bert = bert
        with torch.no_grad():
            bert.embeddings.word_embeddings = _embedding(words[list(kept)])
            kinds = bert.embeddings.token_type_embeddings.weight
            both = torch.cat([kinds, kinds + 0.02 * torch.randn_like(kinds)])
            bert.embeddings.token_type_embeddings = _embedding(both)
        bert.config.type_vocab_size = KINDS
        self.head = torch.nn.Linear(2 * words.shape[1], 1)

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor
    ) -> torch.Tensor:
        """(n,) logits."""
        ids = self.places[input_ids].long()  # type: ignore[index] # a buffer is a Tensor
        states = self.bert(
            input_ids=ids, attention_mask=attention_mask, token_type_ids=token_type_ids
        ).last_hidden_state  # (n, s, d)
        mask = attention_mask.unsqueeze(-1).to(states.dtype)  # (n, s, 1)
        mean = (states * mask).sum(1) / mask.sum(1)  # (n, d)
        return self.head(torch.cat([states[:, 0], mean], 1)).squeeze(1)  # type: ignore[no-any-return]


def _embedding(rows: torch.Tensor) -> torch.nn.Embedding:
    made = torch.nn.Embedding(*rows.shape)
    made.weight.copy_(rows)
    return made


def vocabulary(seen: Iterable[int]) -> list[int]:
    """The tokens to keep: the common ones, and those `seen` in the text to learn from."""
    return sorted({*range(KEPT_FRONT), *seen})


def kept_by(state: dict[str, torch.Tensor]) -> list[int]:
    """The tokens that a saved cross-encoder kept."""
    places = state["places"]
    known = places != places[UNKNOWN]
    known[UNKNOWN] = True
    return [int(token) for token in torch.nonzero(known).flatten()]


def from_minilm(layers: int, kept: Sequence[int], seed: int) -> CrossEncoder:
    """A cross-encoder of MiniLM's first `layers`; raises EncoderError."""
    bert = load_reference()[0].auto_model
    bert.encoder.layer = bert.encoder.layer[:layers]
    bert.config.num_hidden_layers = layers
    torch.manual_seed(seed)
    return CrossEncoder(bert, kept)


def grown(state: dict[str, torch.Tensor], model: CrossEncoder) -> CrossEncoder:
    """`model` with the weights of a saved one; a token that only one of them kept stays its own."""
    words = "bert.embeddings.word_embeddings.weight"
    old, new = kept_by(state), kept_by(model.state_dict())
    places = {token: place for place, token in enumerate(old)}
    own = model.state_dict()[words]
    rows = [state[words][places[t]] if t in places else own[n] for n, t in enumerate(new)]
    taken = {**state, words: torch.stack(rows), "places": model.state_dict()["places"]}
    model.load_state_dict(taken)
    return model


def tensors(inputs: dict[str, NDArray[np.int64]]) -> list[torch.Tensor]:
    """The graph's inputs in its order."""
    return [torch.from_numpy(inputs[name]) for name in INPUTS]


def export(model: CrossEncoder, path: Path) -> None:
    """Write the graph in float32."""
    ids = torch.tensor([[2, 4, 3, 0], [2, 4, 5, 3]])  # (2, 4): of unlike length, one padded
    both = {0: "batch", 1: "sequence"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer warns of each branch; the tests compare
        torch.onnx.export(
            model.eval(),
            (ids, (ids != 0).long(), torch.zeros_like(ids)),
            str(path),
            input_names=list(INPUTS),
            output_names=[LOGIT],
            dynamic_axes={**dict.fromkeys(INPUTS, both), LOGIT: {0: "batch"}},
            opset_version=OPSET,
            dynamo=False,
        )
