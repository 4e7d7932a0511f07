"""Texts in, unit vectors out, by ONNX Runtime on the CPU, CUDA or TensorRT.

Which texts run together. Dynamic int8 takes one scale for the activations of a whole batch, so a
text's vector would depend on its batch-mates: run 16 at a time, real questions move to a cosine of
.993 on average and .985 at worst against the same question alone. Alone they also take no longer
(1.5 ms a question against 2.4 in sixteens as they come, padding included). So int8 runs texts one
by one, and each caller gets the vector of its own text whatever the batch. Float runs do not mix
texts; sorted by length they gain from company (fp32 4.4 ms alone, 2.5 in sixteens).
Measured: by running sessions of the bundle both ways, 256 Quora questions of 21 tokens, one thread,
AMD EPYC (table in docs/encoder.md); `python -m sidecar encoder bench` shows the effect on its own
questions.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as ort_state

from sidecar.encoder.bound import Bound
from sidecar.encoder.bundle import Bundle, Device, EncoderConfig, Precision
from sidecar.encoder.devices import (
    PROVIDERS,
    bucket,
    choose_device,
    choose_precision,
    most_rows,
    providers,
)
from sidecar.encoder.encoding import Encodings, Tokens, Vectors
from sidecar.encoder.threads import threads_for
from sidecar.encoder.tokenizer import Tokenizer
from sidecar.errors import EncoderError

ORT_FAULTS: Final[tuple[type[Exception], ...]] = (
    *(
        fault
        for _, fault in inspect.getmembers(ort_state, inspect.isclass)
        if issubclass(fault, Exception)
    ),
    RuntimeError,
    ValueError,
)
"""Every exception that the library defines, and the two that it borrows."""

CPU_AT_ONCE_TOKENS: Final = 2_048
"""Chosen: some 150 ms of int8; who comes then waits no longer for them, whatever their order."""

CPU_RUN_TOKENS: Final = 512
"""Padded tokens of one float run on the CPU. Measured: fp32 in sorted batches of 16, 64 short
questions: 2.5 and 3.7 ms a question; beyond this the activations leave the core's cache."""


SLOW_FUSIONS: Final = ("SkipLayerNormFusion",)
"""What ONNX Runtime is to leave as it is on the CPU: a sum and its normalisation made one, which
goes through the row number by number (so in 1.31), while the two by themselves are done sixteen
at a time. Measured: by turns in one process, int8, 11 tokens: 1.29 ms with it, 1.16 without; 23:
1.96 and 1.67; 102: 8.5 and 7.1. The sums are others in their last bit, so that one text in six
comes out with another of int8's roundings (of 2,500 questions cosine at least .995, mean cosine to
fp32 .9946 both ways). What the calibration makes of it: docs/cache.md, "The bound"."""


class OnnxEncoder:
    """A session and its tokenizer. On a CPU any number of threads may use it, on a GPU one.

    Both are opened when they are first needed, or by `open`: a process that is being started has
    callers who need neither.

    Attributes:
        encoder_id: Identity of its vectors: weights, tokenizer, pooling, precision, window.
        dim: Length of a vector.
        device: Where it runs.
        precision: Of its weights.
        together: See `encoding.Encoder`.
        at_once_tokens: Likewise: a card's are those of one run.
    """

    def __init__(
        self,
        parts: Callable[[], tuple[ort.InferenceSession, Tokenizer]],
        *,
        encoder_id: str,
        dim: int,
        device: Device,
        precision: Precision,
        max_batch_tokens: int,
        buffers: str = "",
        has_graphs: bool = False,
    ) -> None:
        """`parts` opens the session and the tokenizer; raises EncoderError.

        `buffers` is where inputs and outputs stay, `cuda` on a card, or empty: nowhere. With
        `has_graphs` the session captures a run of each shape once and replays it.
        """
        self._parts = parts
        self._opening = threading.Lock()
        self._opened: tuple[ort.InferenceSession, Tokenizer] | None = None
        self._bound: Bound | None = None
        self._buffers = buffers
        self._has_graphs = has_graphs
        self.encoder_id = encoder_id
        self.dim = dim
        self.device = device
        self.precision = precision
        self.together = precision != "int8"
        self.at_once_tokens = CPU_AT_ONCE_TOKENS if device == "cpu" else max_batch_tokens
        self._run_tokens = (
            min(CPU_RUN_TOKENS, max_batch_tokens) if device == "cpu" else max_batch_tokens
        )

    @classmethod
    def load(cls, config: EncoderConfig) -> OnnxEncoder:
        """The encoder that `config` asks for, open.

        Raises:
            EncoderError: No bundle, a torn bundle, or a device that is not there.
        """
        encoder = cls.found(config)
        encoder.open()
        return encoder

    @classmethod
    def found(cls, config: EncoderConfig) -> OnnxEncoder:
        """The encoder that `config` asks for; on a CPU it has still to be opened.

        Raises:
            EncoderError: No bundle, or a device that is not there.
        """
        bundle = Bundle.open(config.folder)
        identity = bundle.manifest.identity
        if config.max_tokens > identity.window_tokens:
            raise EncoderError(
                f"max_tokens is {config.max_tokens}, and the window of the bundle in "
                f"{bundle.folder} is {identity.window_tokens}"
            )
        device = choose_device(config.device, ort.get_available_providers())
        session = None if device == "cpu" else _open_session(bundle, device, config)
        if session is None and config.device == "auto":
            device = "cpu"
        if session is None and device != "cpu":
            raise EncoderError(
                f"device {device} was asked for and its provider is installed, but it does not "
                "start here; see onnxruntime's own message for the driver or library it misses"
            )
        precision = choose_precision(config.precision, device)

        def parts() -> tuple[ort.InferenceSession, Tokenizer]:
            opened = _open_session(bundle, device, config) if session is None else session
            assert opened is not None  # noqa: S101 - the CPU's provider always starts
            return opened, Tokenizer(bundle.tokenizer(), config.max_tokens)

        return cls(
            parts,
            encoder_id=identity.encoder_id(precision, config.max_tokens),
            dim=identity.dim,
            device=device,
            precision=precision,
            max_batch_tokens=config.max_batch_tokens,
            buffers="" if device == "cpu" else "cuda",
            has_graphs=config.cuda_graphs and device != "cpu",
        )

    def open(self) -> None:
        """Open it now, and run it once, so that the first caller does not pay.

        Raises:
            EncoderError: The bundle is torn, or the session does not start.
        """
        self.encode(["warm up"])

    def _open(self) -> tuple[ort.InferenceSession, Tokenizer]:
        if self._opened is None:
            with self._opening:  # several lanes may come at once, and one session is enough
                if self._opened is None:
                    opened = self._parts()
                    if self._buffers:
                        graphs = self._has_graphs
                        self._bound = Bound(opened[0], self._buffers, self.dim, has_graphs=graphs)
                    self._opened = opened
        return self._opened

    def encode(self, texts: Sequence[str]) -> Encodings:
        """The vectors of `texts`; raises EncoderError."""
        batch = [self.tokenize(text) for text in texts]
        return Encodings(
            vectors=self.run(batch),
            tokens=tuple(len(tokens.ids) for tokens in batch),
            truncated=tuple(tokens.truncated for tokens in batch),
        )

    def tokenize(self, text: str) -> Tokens:
        """The text's tokens, cut to the window; raises EncoderError."""
        return self._open()[1].tokenize(text)

    def run(self, batch: Sequence[Tokens]) -> Vectors:
        """The vectors of `batch`, (n, dim) float32, unit length, in its order.

        Raises:
            EncoderError: The session failed; no vector of this batch is to be had.
        """
        vectors = np.empty((len(batch), self.dim), np.float32)
        for rows in self._runs(batch):
            vectors[rows] = self._run_once([batch[row].ids for row in rows])  # (len(rows), dim)
        return vectors

    def _runs(self, batch: Sequence[Tokens]) -> Iterator[list[int]]:
        """Rows of `batch` that run together: of like length, within the budget of padded tokens."""
        if not self.together:
            yield from ([row] for row in range(len(batch)))
            return
        rows: list[int] = []
        for row in sorted(range(len(batch)), key=lambda row: len(batch[row].ids)):
            # Sorted, so that this text is the longest of its run and sets the width of the rest.
            if rows and len(rows) + 1 > self._most_rows(len(batch[row].ids)):
                yield rows
                rows = []
            rows.append(row)
        if rows:
            yield rows

    def _most_rows(self, width: int) -> int:
        """How many texts of that many tokens run together, padding counted."""
        if not self._buffers:
            return self._run_tokens // width
        return most_rows(self._run_tokens, bucket(width))

    def _run_once(self, ids: Sequence[tuple[int, ...]]) -> Vectors:
        """One run of the session over `ids`, padded to the longest; (n, dim) float32."""
        vectors = self._device_run(feed(ids))
        # Unit length again: float16 leaves it a few parts in ten thousand off.
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)  # (n, 1)
        return np.asarray(vectors / lengths, np.float32)

    def _device_run(self, inputs: Mapping[str, npt.NDArray[np.int64]]) -> Vectors:
        """As `bare_run`; on a card over buffers that stay there."""
        self._open()
        if self._bound is None:
            return self.bare_run(inputs)
        try:
            return self._bound.run(inputs)
        except ORT_FAULTS as exc:
            raise EncoderError(f"the encoder's session failed: {exc}") from exc

    def bare_run(self, inputs: Mapping[str, npt.NDArray[np.int64]]) -> Vectors:
        """The session alone on inputs of `feed`: what every overhead is measured against.

        Raises:
            EncoderError: The session failed.
        """
        try:
            (vectors,) = self._open()[0].run(None, inputs)
        except ORT_FAULTS as exc:
            raise EncoderError(f"the encoder's session failed: {exc}") from exc
        return np.asarray(vectors)


def feed(ids: Sequence[tuple[int, ...]]) -> dict[str, npt.NDArray[np.int64]]:
    """A session's inputs for `ids`: (n, longest) int64 each, padded with 0 and masked there."""
    width = max(len(row) for row in ids)
    input_ids = np.zeros((len(ids), width), np.int64)
    mask = np.zeros_like(input_ids)
    for row, values in enumerate(ids):
        input_ids[row, : len(values)] = values
        mask[row, : len(values)] = 1
    # One text is one segment: its token types are all 0.
    return {
        "input_ids": input_ids,
        "attention_mask": mask,
        "token_type_ids": np.zeros_like(input_ids),
    }


def _open_session(
    bundle: Bundle, device: Device, config: EncoderConfig
) -> ort.InferenceSession | None:
    """A session on `device`, or None where its provider is installed and cannot start."""
    path = bundle.model(choose_precision(config.precision, device))
    options = ort.SessionOptions()
    # In int8 each thread has texts of its own: a short question gains nothing from two. Measured:
    # 13 tokens: 0.88 ms on one thread, 1.19 on two.
    is_shared = choose_precision(config.precision, device) != "int8"
    options.intra_op_num_threads = threads_for(config) if is_shared else 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors; the library warns of what it then does by itself
    # A waiting thread sleeps: the cores belong to the application beside us.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Without an arena the memory of a long text is given back. Measured: no slower (0.88 and 0.87
    # ms at 13 tokens, 16.9 and 17.1 ms at 256).
    options.enable_cpu_mem_arena = False
    try:
        session = ort.InferenceSession(
            str(path),
            options,
            providers=providers(device, bundle.folder, config),
            disabled_optimizers=[*SLOW_FUSIONS] if device == "cpu" else None,
        )
    except ORT_FAULTS as exc:
        hint = "; try it with `cuda_graphs = false`" if config.cuda_graphs else ""
        raise EncoderError(f"{path} does not load on {device}: {exc}{hint}") from exc
    # onnxruntime falls back to the CPU in silence when a provider cannot start.
    return session if session.get_providers()[0] == PROVIDERS[device] else None
