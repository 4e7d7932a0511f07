"""Token ids in, vectors out, by a session whose inputs and outputs stay where they are on the card.

A plain run takes fresh memory on the card for each input and output, and a captured run (CUDA
graph) needs the same addresses and shapes each time. So there are a few shapes (`devices.BUCKETS`),
each with buffers that are bound once and filled anew for each run; what fills a shape up is masked,
and its rows are dropped. Padding does not touch a float run's other rows; int8 never runs here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from sidecar.encoder.devices import bucket, bucket_rows
from sidecar.encoder.encoding import Vectors

Inputs = Mapping[str, npt.NDArray[np.int64]]

OUTPUT: Final = "vectors"
"""Of every graph of a bundle, see `encoder.graph`."""

_MASK: Final = "attention_mask"


class _Slot:
    """The buffers of one shape, bound."""

    def __init__(
        self, session: ort.InferenceSession, place: str, shape: tuple[int, int], dim: int
    ) -> None:
        self._binding = session.io_binding()
        self._shape = shape
        self._inputs = {
            given.name: ort.OrtValue.ortvalue_from_numpy(np.zeros(shape, np.int64), place, 0)
            for given in session.get_inputs()
        }
        for name, value in self._inputs.items():
            self._binding.bind_ortvalue_input(name, value)
        self._vectors = ort.OrtValue.ortvalue_from_shape_and_type(
            [shape[0], dim], np.float32, place, 0
        )
        self._binding.bind_ortvalue_output(OUTPUT, self._vectors)

    def run(
        self, session: ort.InferenceSession, inputs: Inputs, options: ort.RunOptions
    ) -> Vectors:
        """(n, dim) float32, of the rows that were given."""
        rows, width = inputs[_MASK].shape
        for name, values in inputs.items():
            filled = np.zeros(self._shape, np.int64)
            filled[:rows, :width] = values
            if name == _MASK:
                filled[rows:, 0] = 1  # the mean over no token at all is none
            self._inputs[name].update_inplace(filled)
        session.run_with_iobinding(self._binding, options)
        return np.array(self._vectors.numpy()[:rows])  # a copy: the buffer is filled again


class Bound:
    """One session and the buffers of each shape that came so far. One thread owns it."""

    def __init__(
        self,
        session: ort.InferenceSession,
        place: str,
        dim: int,
        *,
        has_graphs: bool,
    ) -> None:
        """`place` is where the buffers are, `cpu` or `cuda`."""
        self._session = session
        self._place = place
        self._dim = dim
        self._has_graphs = has_graphs
        self._slots: dict[tuple[int, int], tuple[_Slot, ort.RunOptions]] = {}

    def __len__(self) -> int:
        return len(self._slots)

    def run(self, inputs: Inputs) -> Vectors:
        """(n, dim) float32, of (n, tokens) int64 each; raises what the library raises."""
        rows, width = inputs[_MASK].shape
        shape = bucket_rows(rows), bucket(width)
        if shape not in self._slots:
            slot = _Slot(self._session, self._place, shape, self._dim)
            self._slots[shape] = slot, self._options(len(self._slots) + 1)
        slot, options = self._slots[shape]
        return slot.run(self._session, inputs, options)

    def _options(self, number: int) -> ort.RunOptions:
        options = ort.RunOptions()
        if self._has_graphs:
            # Source: the CUDA provider's page: a graph is captured for each such number.
            options.add_run_config_entry("gpu_graph_id", str(number))
        return options
