"""A text in, its vector by a bare session of the bundle's int8 graph out: nothing around it.

Opened as ONNX Runtime opens it by itself, on one thread and without an arena, and imported by other
environments too: it needs no more than it names.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from tokenizers import Tokenizer

Inputs = dict[str, NDArray[np.int64]]


class BareEncoder:
    """The graph and its tokenizer, on one thread."""

    def __init__(self, bundle: Path) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.enable_cpu_mem_arena = False
        weights = str(bundle / "model.int8.onnx")
        self._session = ort.InferenceSession(weights, options, providers=["CPUExecutionProvider"])
        self._tokenizer = Tokenizer.from_file(str(bundle / "tokenizer.json"))
        self._tokenizer.no_padding()

    def inputs(self, text: str) -> Inputs:
        """The session's, (1, tokens) int64 each."""
        ids = np.array([self._tokenizer.encode(text).ids], np.int64)
        mask, types = np.ones_like(ids), np.zeros_like(ids)
        return {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}

    def run(self, inputs: Inputs) -> NDArray[np.float32]:
        """(dim,) float32, unit length."""
        (vectors,) = self._session.run(None, inputs)
        vector: NDArray[np.float32] = vectors[0]
        return vector
