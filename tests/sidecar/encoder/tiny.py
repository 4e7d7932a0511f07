"""A transformer of one layer that anyone can check by hand, with the interface of the real one."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from sidecar.encoder.bundle import Identity
from sidecar.encoder.encoding import Vectors
from sidecar.encoder.graph import INPUTS, TOKENS_OUTPUT
from sidecar.encoder.hub import HubFile, HubSource
from sidecar.encoder.probe import Probe

DIM = 32
WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"w{number}" for number in range(60)))

_dice = np.random.default_rng(7)
TABLE = _dice.normal(size=(len(WORDS), DIM)).astype(np.float32)
WEIGHTS = _dice.normal(size=(DIM, DIM)).astype(np.float32)

TEXTS = ("w1 w2 w3", "w4", "w5 w6 w7 w8 w9 w10 w11 w12", "w13 nonsense")


def write_tokens_model(path: Path, opset: int = 14) -> None:
    """An ONNX file whose token-level output is `TABLE[ids] @ WEIGHTS`: (b, s, dim)."""
    both = ["batch", "sequence"]
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["table", "input_ids"], ["rows"], name="rows"),
            helper.make_node("MatMul", ["rows", "weights"], [TOKENS_OUTPUT], name="layer"),
        ],
        "tiny",
        [helper.make_tensor_value_info(name, TensorProto.INT64, both) for name in INPUTS],
        [helper.make_tensor_value_info(TOKENS_OUTPUT, TensorProto.FLOAT, [*both, DIM])],
        [numpy_helper.from_array(TABLE, "table"), numpy_helper.from_array(WEIGHTS, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.save(model, str(path))


def write_tokenizer(path: Path) -> None:
    """A `tokenizer.json` that knows `WORDS`, cuts at 4 and pads to 9, as a bundle's may."""
    special = {
        word: {"id": word, "ids": [WORDS.index(word)], "tokens": [word]}
        for word in ("[CLS]", "[SEP]")
    }
    single = [
        {"SpecialToken": {"id": "[CLS]", "type_id": 0}},
        {"Sequence": {"id": "A", "type_id": 0}},
        {"SpecialToken": {"id": "[SEP]", "type_id": 0}},
    ]
    values: dict[str, object] = {
        "version": "1.0",
        "truncation": {
            "direction": "Right",
            "max_length": 4,
            "strategy": "LongestFirst",
            "stride": 0,
        },
        "padding": {
            "strategy": {"Fixed": 9},
            "direction": "Right",
            "pad_to_multiple_of": None,
            "pad_id": 0,
            "pad_type_id": 0,
            "pad_token": "[PAD]",
        },
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": single,
            "pair": [*single, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": special,
        },
        "decoder": None,
        "model": {
            "type": "WordLevel",
            "vocab": {word: number for number, word in enumerate(WORDS)},
            "unk_token": "[UNK]",
        },
    }
    path.write_text(json.dumps(values), "utf-8")


def token_ids(text: str) -> list[int]:
    """What the tokenizer makes of a text of words and blanks."""
    ids = [WORDS.index(word) if word in WORDS else 1 for word in text.split()]
    return [2, *ids, 3]


def unit_vector(text: str) -> Vectors:
    """(dim,): mean over the tokens of `TABLE[ids] @ WEIGHTS`, then unit length, by numpy."""
    mean = (TABLE[token_ids(text)] @ WEIGHTS).mean(axis=0)  # (tokens, dim) -> (dim,)
    return np.asarray(mean / np.linalg.norm(mean), np.float32)


def probe() -> Probe:
    """What a bundle of this model must give."""
    return Probe(TEXTS, np.stack([unit_vector(text) for text in TEXTS]))


def hub_source(folder: Path, endpoint: str | None = None) -> HubSource:
    """The two files written to `folder`, pinned as they are."""
    folder.mkdir(parents=True, exist_ok=True)
    write_tokens_model(folder / "model.onnx")
    write_tokenizer(folder / "tokenizer.json")
    tokenizer = _pin(folder, "tokenizer.json")
    return HubSource(
        repo="tiny/tiny",
        revision="1" * 40,
        model=_pin(folder, "model.onnx"),
        tokenizer=tokenizer,
        endpoint=endpoint,
        identity=Identity(
            model="tiny", weights_sha256="", tokenizer_sha256=tokenizer.sha256, dim=DIM
        ),
        budget_s=60.0,  # a stand-in on a slow machine is no hub that cannot be reached
    )


def _pin(folder: Path, name: str) -> HubFile:
    data = (folder / name).read_bytes()
    return HubFile(name, hashlib.sha256(data).hexdigest(), len(data))
