"""Devices: the one asked for, or a refusal that tells the way out; and what each is asked for."""

from __future__ import annotations

from pathlib import Path

import onnxruntime as ort
import pytest

from sidecar.encoder.bundle import Device, EncoderConfig
from sidecar.encoder.devices import (
    BUCKETS,
    bucket,
    bucket_rows,
    choose_device,
    choose_precision,
    most_rows,
    providers,
)
from sidecar.errors import EncoderError

HERE = Path("bundle")


@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
def test_a_device_that_is_not_there_is_refused_clearly(device: str) -> None:
    """With the providers that are there and the extra that brings the others."""
    with pytest.raises(EncoderError, match=r"CPUExecutionProvider; install the `gpu` extra"):
        choose_device(device, ["CPUExecutionProvider"])


@pytest.mark.parametrize(
    ("asked", "available", "chosen"),
    [
        pytest.param("auto", ["CPUExecutionProvider"], "cpu", id="auto-without-gpu"),
        pytest.param(
            "auto", ["CUDAExecutionProvider", "CPUExecutionProvider"], "cuda", id="auto-with-gpu"
        ),
        pytest.param(
            "cpu", ["CUDAExecutionProvider", "CPUExecutionProvider"], "cpu", id="cpu-despite-gpu"
        ),
        pytest.param(
            "tensorrt", ["TensorrtExecutionProvider", "CPUExecutionProvider"], "tensorrt", id="trt"
        ),
    ],
)
def test_the_device_is_the_one_asked_for(asked: str, available: list[str], chosen: str) -> None:
    """`auto` takes CUDA where its provider is, and nothing else is guessed."""
    assert choose_device(asked, available) == chosen


def test_precision_follows_the_device() -> None:
    """int8 on the CPU, fp16 on a GPU, and int8 on a GPU is refused."""
    assert choose_precision("auto", "cpu") == "int8"
    assert choose_precision("auto", "cuda") == "fp16"
    assert choose_precision("fp32", "cuda") == "fp32"
    with pytest.raises(EncoderError, match="int8 runs on the CPU only"):
        choose_precision("int8", "tensorrt")


def test_this_machine_has_the_cpu_provider() -> None:
    """Whatever else is installed, the CPU is there."""
    assert choose_device("cpu", ort.get_available_providers()) == "cpu"


@pytest.mark.parametrize(
    ("device", "names"),
    [
        pytest.param("cpu", ["CPU"], id="cpu"),
        pytest.param("cuda", ["CUDA", "CPU"], id="cuda"),
        pytest.param("tensorrt", ["Tensorrt", "CUDA", "CPU"], id="tensorrt"),
    ],
)
def test_what_a_device_does_not_take_falls_to_the_next(device: Device, names: list[str]) -> None:
    """TensorRT, then CUDA, then the CPU."""
    asked = providers(device, HERE, EncoderConfig(device=device))
    told = [each if isinstance(each, str) else each[0] for each in asked]
    assert told == [f"{name}ExecutionProvider" for name in names]


def options(device: Device, **more: object) -> dict[str, str]:
    """Of the first provider that is asked."""
    _, told = providers(device, HERE, EncoderConfig(device=device, **more))[0]  # type: ignore[arg-type]
    assert all(isinstance(value, str) for value in told.values())
    return told  # type: ignore[no-any-return]


def test_a_captured_run_is_asked_for_where_the_config_says_so() -> None:
    """Of the provider that runs the graph, and not of the one that it falls back on."""
    assert options("cuda")["enable_cuda_graph"] == "0"
    assert options("cuda", cuda_graphs=True)["enable_cuda_graph"] == "1"
    assert options("tensorrt", cuda_graphs=True)["trt_cuda_graph_enable"] == "True"
    asked = providers("tensorrt", HERE, EncoderConfig(device="tensorrt", cuda_graphs=True))
    assert asked[1][1]["enable_cuda_graph"] == "0"


def test_who_asks_for_fp32_gets_it_whole() -> None:
    """No TF32 and no fp16 engine behind its name."""
    assert options("cuda", precision="fp32")["use_tf32"] == "0"
    assert options("tensorrt", precision="fp32")["trt_fp16_enable"] == "False"
    assert options("tensorrt")["trt_fp16_enable"] == "True"


def test_engines_are_kept_and_cover_all_that_is_sent() -> None:
    """From one short text to as many of the longest as of the shortest."""
    told = options("tensorrt", max_batch_tokens=4_096)
    assert told["trt_engine_cache_path"] == told["trt_timing_cache_path"] == "bundle/tensorrt"
    assert told["trt_profile_min_shapes"].startswith("input_ids:1x16,attention_mask:1x16,")
    assert told["trt_profile_max_shapes"].startswith("input_ids:256x256,attention_mask:256x256,")


@pytest.mark.parametrize(
    ("tokens", "length"), [(1, 16), (16, 16), (17, 32), (200, 256), (256, 256), (300, 300)]
)
def test_a_text_is_padded_to_one_of_few_lengths(tokens: int, length: int) -> None:
    """The next; beyond the window there is none."""
    assert bucket(tokens) == length


@pytest.mark.parametrize("budget", [256, 4_096, 50_000])
def test_a_run_filled_up_keeps_within_the_budget(budget: int) -> None:
    """However many texts: the number that it is filled up to is no more than may run together."""
    for length in BUCKETS:
        most = most_rows(budget, length)
        assert most * length <= max(budget, length)
        assert all(bucket_rows(rows) <= most for rows in range(1, most + 1))
