"""A transformer's ONNX graph in, graphs that give unit vectors out: pooled, int8 and fp16.

The only import of `onnx` and of the quantiser: neither is loaded while serving.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from sidecar.encoder.bundle import DIM

INPUTS: Final = ("input_ids", "attention_mask", "token_type_ids")
"""Each (batch, sequence) int64. Source: the model card's own ONNX file, and BERT's signature."""

TOKENS_OUTPUT: Final = "last_hidden_state"
"""(batch, sequence, dim) float32: what the hub's file gives."""

VECTORS_OUTPUT: Final = "vectors"
"""(batch, dim) float32, unit length: what every graph of a bundle gives."""

HEADS: Final = 12
"""Source: `num_attention_heads` in the model's `config.json`."""

POOLING_PREFIX: Final = "pooling_"
"""Begins the name of each node that `pool` adds, so that it clashes with none of the graph's."""


def pool(source: Path, target: Path) -> None:
    """Write `source` with mean pooling and L2 normalisation grafted onto its token-level output.

    The mean, not the sum, although the normalisation would undo the difference: the squared length
    of a sum over a full window would pass 65,504, float16's largest. Only operators whose form is
    the same in every opset since 9 are used, because the graph keeps the opset that it came with.
    """
    model = onnx.load(str(source))
    graph = model.graph
    dim = _last_dim(graph)
    p = POOLING_PREFIX
    graph.initializer.extend(
        [
            numpy_helper.from_array(np.array([0, 1, -1], np.int64), p + "row_shape"),
            numpy_helper.from_array(np.array([0, -1, 1], np.int64), p + "column_shape"),
            numpy_helper.from_array(np.array([-1, dim], np.int64), p + "vector_shape"),
        ]
    )
    nodes = [
        ("Cast", ["attention_mask"], "mask", {"to": TensorProto.FLOAT}),  # (b, s)
        ("Reshape", [p + "mask", p + "row_shape"], "row", {}),  # (b, 1, s)
        ("Reshape", [p + "mask", p + "column_shape"], "column", {}),  # (b, s, 1)
        ("MatMul", [p + "row", p + "column"], "count", {}),  # (b, 1, s) @ (b, s, 1) = (b, 1, 1)
        ("Div", [p + "row", p + "count"], "weights", {}),  # (b, 1, s), sums to 1
        ("MatMul", [p + "weights", TOKENS_OUTPUT], "mean", {}),  # (b, 1, s) @ (b, s, d)
        ("Transpose", [p + "mean"], "turned", {"perm": [0, 2, 1]}),  # (b, d, 1)
        ("MatMul", [p + "mean", p + "turned"], "square", {}),  # (b, 1, 1)
        ("Sqrt", [p + "square"], "length", {}),
        ("Div", [p + "mean", p + "length"], "unit", {}),  # (b, 1, d)
    ]
    for kind, inputs, name, attributes in nodes:
        graph.node.append(helper.make_node(kind, inputs, [p + name], name=p + name, **attributes))
    graph.node.append(
        helper.make_node(
            "Reshape", [p + "unit", p + "vector_shape"], [VECTORS_OUTPUT], name=p + "vectors"
        )
    )
    del graph.output[:]
    graph.output.append(
        helper.make_tensor_value_info(VECTORS_OUTPUT, TensorProto.FLOAT, ["batch", dim])
    )
    onnx.checker.check_model(model)
    onnx.save(model, str(target))


def to_int8(source: Path, target: Path) -> None:
    """Write `source` with int8 weights; activations are quantised as they come.

    Per channel: one scale for each output column of a weight, for a few kB more.

    Each layer's attention is made one step first, where it is known for one: heads are then neither
    cut nor put together by a dozen steps of their own, which take as long however short the text.
    Measured: in turns in one process, the vectors the same to the last bit (2,500 questions): 1.08
    ms in the place of 1.26 at 11 tokens, 1.65 and 1.78 at 23, 7.6 and 7.4 at 102, 20.8 and 22.3 at
    242. Where `sympy` is not there it stays as it is, with the same vectors: torch brings it along,
    so that it is there at every export; who only fetches and serves need not have it.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic  # noqa: PLC0415 - slow import

    with tempfile.TemporaryDirectory() as folder:
        fused = Path(folder) / "fused.onnx"
        quantize_dynamic(
            str(fused if _fused_attention(source, fused) else source),
            str(target),
            per_channel=True,
            weight_type=QuantType.QInt8,
            # What comes out of an attention has no type that ONNX itself could tell.
            extra_options={"DisableShapeInference": True, "DefaultTensorType": TensorProto.FLOAT},
        )


def _fused_attention(source: Path, target: Path) -> bool:
    """Write `source` with each attention as one step, if that can be done here.

    Nothing else is made one: the session does that itself, as far as it is to be done.
    """
    from onnxruntime.transformers.fusion_options import FusionOptions  # noqa: PLC0415 - slow import
    from onnxruntime.transformers.optimizer import optimize_model  # noqa: PLC0415 - slow import

    options = FusionOptions("bert")
    options.enable_skip_layer_norm = options.enable_bias_skip_layer_norm = False
    options.enable_embed_layer_norm = options.enable_bias_gelu = False
    try:
        made = optimize_model(
            str(source),
            "bert",
            num_heads=HEADS,
            hidden_size=DIM,
            optimization_options=options,
            opt_level=0,  # no graph of this machine's own
        )
    except ImportError:  # it works out shapes by sympy
        return False
    there = {each.name for each in made.model.graph.input}
    # An input that a graph has no use for is fed all the same.
    inputs = onnx.load(str(source)).graph.input
    made.model.graph.input.extend(each for each in inputs if each.name not in there)
    made.save_model_to_file(str(target))
    return True


def sign(path: Path, **facts: str) -> None:
    """Write `facts` into the metadata of the graph at `path`."""
    model = onnx.load(str(path))
    helper.set_model_props(model, facts)
    onnx.save(model, str(path))


def to_fp16(source: Path, target: Path) -> None:
    """Write `source` with float16 inside and the same inputs and outputs outside."""
    from onnxruntime.transformers.float16 import (  # noqa: PLC0415 - slow import
        convert_float_to_float16,
    )

    halved = convert_float_to_float16(
        onnx.load(str(source)), keep_io_types=True, disable_shape_infer=True
    )
    onnx.save(halved, str(target))


def _last_dim(graph: Any) -> int:
    """The vector's length, from the token-level output's declared shape."""
    for output in graph.output:
        if output.name == TOKENS_OUTPUT:
            return int(output.type.tensor_type.shape.dim[-1].dim_value)
    names = ", ".join(output.name for output in graph.output)
    raise ValueError(f"the graph has no output {TOKENS_OUTPUT}; it has {names}")
