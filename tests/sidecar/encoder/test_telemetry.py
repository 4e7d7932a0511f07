"""Nothing in here reports to anybody."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_onnx_runtime_leaves_no_device_id(tmp_path: Path) -> None:
    """Its telemetry is off before it is imported, so that it makes no id and opens no database."""
    code = "import sidecar.encoder.onnx, onnxruntime; onnxruntime.get_available_providers()"
    root = Path(__file__).parents[3]
    environment = {"HOME": str(tmp_path), "PATH": ""}
    subprocess.run([sys.executable, "-c", code], cwd=root, env=environment, check=True)  # noqa: S603 - our own code
    assert [path for path in tmp_path.rglob("*") if "onnxruntime" in str(path)] == []
