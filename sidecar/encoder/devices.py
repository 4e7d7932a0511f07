"""Which device the encoder runs on, and what its provider is asked for; no session, no I/O.

A session is given its providers in the order in which they are to be asked for each operator: those
that TensorRT does not take go to CUDA, and those that CUDA does not take to the CPU. A device that
an operator names must be there, or the sidecar does not start; `auto` goes on without a card.
Source: https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html and
TensorRT-ExecutionProvider.html beside it, read 2026-11-30. CUDA and TensorRT: not measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, get_args

from sidecar.encoder.bundle import Device, EncoderConfig, Precision
from sidecar.errors import EncoderError

PROVIDERS: Final[Mapping[Device, str]] = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}


def choose_device(asked: str, available: Sequence[str]) -> Device:
    """The device to run on; raises EncoderError if the one asked for has no provider here."""
    if asked == "auto":
        return "cuda" if PROVIDERS["cuda"] in available else "cpu"
    for device in get_args(Device):
        if device == asked and PROVIDERS[device] in available:
            return device  # type: ignore[no-any-return]  # get_args forgets the Literal
    raise EncoderError(
        f"device {asked} was asked for, but this onnxruntime has only {', '.join(available)}; "
        "install the `gpu` extra in place of `cpu` (onnxruntime-gpu brings CUDA and TensorRT)"
    )


def choose_precision(asked: str, device: Device) -> Precision:
    """The precision to run in: int8 by default on the CPU, fp16 on a GPU.

    Raises:
        EncoderError: int8 on a GPU, where its operators would fall back to the CPU one by one.
    """
    if asked == "auto":
        return "int8" if device == "cpu" else "fp16"
    if asked == "int8" and device != "cpu":
        raise EncoderError(f"precision int8 runs on the CPU only; on {device} ask for fp16 or fp32")
    return asked  # type: ignore[return-value]  # EncoderConfig admits no other word


def providers(device: Device, folder: Path, config: EncoderConfig) -> list[Any]:
    """A session's `providers` argument: the device's provider, then those it falls back on.

    Which GPU is the process's to say (`CUDA_VISIBLE_DEVICES`).
    """
    cuda = (PROVIDERS["cuda"], _cuda(config))
    match device:
        case "cpu":
            return [PROVIDERS["cpu"]]
        case "cuda":
            return [cuda, PROVIDERS["cpu"]]
        case "tensorrt":
            # What falls back is not captured: a graph is one provider's.
            plain = (PROVIDERS["cuda"], {**_cuda(config), "enable_cuda_graph": "0"})
            return [(PROVIDERS["tensorrt"], _tensorrt(folder, config)), plain, PROVIDERS["cpu"]]


def _cuda(config: EncoderConfig) -> dict[str, str]:
    """CUDA's options."""
    return {
        "device_id": "0",
        "arena_extend_strategy": "kSameAsRequested",
        # fp32 is asked for by who wants it exact: TF32 keeps ten bits of each factor.
        "use_tf32": "0" if config.precision == "fp32" else "1",
        "enable_cuda_graph": "1" if config.cuda_graphs else "0",
    }


def _tensorrt(folder: Path, config: EncoderConfig) -> dict[str, str]:
    """TensorRT's options: engines kept beside the bundle, one profile over all shapes we send."""
    names = ("input_ids", "attention_mask", "token_type_ids")

    def shapes(batch: int, tokens: int) -> str:
        return ",".join(f"{name}:{batch}x{tokens}" for name in names)

    kept = str(folder / "tensorrt")
    shortest = BUCKETS[0]
    return {
        "device_id": "0",
        "trt_fp16_enable": str(config.precision != "fp32"),
        "trt_engine_cache_enable": "True",
        "trt_engine_cache_path": kept,
        "trt_timing_cache_enable": "True",
        "trt_timing_cache_path": kept,
        "trt_cuda_graph_enable": str(config.cuda_graphs),
        "trt_profile_min_shapes": shapes(1, shortest),
        "trt_profile_opt_shapes": shapes(1, BUCKETS[1]),
        "trt_profile_max_shapes": shapes(
            most_rows(config.max_batch_tokens, shortest), config.max_tokens
        ),
    }


BUCKETS: Final = (16, 32, 64, 128, 256)
"""Chosen: lengths to which texts are padded on a card, twice the one before: a question, a long
one, a paragraph, a page. Each pair of length and number of texts has buffers of its own, and with
`cuda_graphs` a captured run: at most 5 lengths times 13 numbers at 65,536 tokens."""


def bucket(tokens: int) -> int:
    """The length to which so many tokens are padded."""
    return next((length for length in BUCKETS if tokens <= length), tokens)


def most_rows(budget_tokens: int, length: int) -> int:
    """How many texts of that length a run may hold: a power of two."""
    return max(1, 1 << (max(1, budget_tokens // length).bit_length() - 1))


def bucket_rows(rows: int) -> int:
    """The number to which so many texts are filled up: the next power of two."""
    return 1 << (rows - 1).bit_length()
