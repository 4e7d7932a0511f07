"""`python -m loadtest.resilience.sabotage FILE serve ...`: the sidecar, on libraries that can fail.

No switch of the sidecar makes its encoder throw, its index throw or the clock jump, nor should one.
So its own code runs here untouched, and what it leans on is wrapped before it starts: each call
looks at FILE, which names the fault in force. An empty FILE is no fault.

| FILE says | what fails |
|---|---|
| `encoder throw` | every run of onnxruntime raises its own exception |
| `encoder hang` | it does not come back while FILE says so |
| `encoder slow` | it takes a second |
| `index throw` | every search of faiss raises |
| `clock N` | the wall clock is N seconds off; the monotonic one is right, as with a real jump |
"""

from __future__ import annotations

import runpy
import sys
import time
from pathlib import Path
from typing import Any, Final

import faiss
import onnxruntime
from onnxruntime.capi.onnxruntime_pybind11_state import Fail

_SLOW_S: Final = 1.0
_LOOK_S: Final = 0.05


def main(argv: list[str]) -> None:
    """Wrap, then run the sidecar as the main program."""
    control = Path(argv[1])
    _wrap_encoder(control)
    _wrap_index(control)
    _wrap_clock(control)
    sys.argv = ["sidecar", *argv[2:]]
    runpy.run_module("sidecar", run_name="__main__", alter_sys=True)


def _said(control: Path) -> str:
    try:
        return control.read_text("utf-8").strip()
    except OSError:  # no file handle left is one of the faults
        return ""


def _wrap_encoder(control: Path) -> None:
    real: Any = onnxruntime.InferenceSession

    class Session(real):  # type: ignore[misc] # the library has no types
        def run(self, *args: Any, **kwargs: Any) -> Any:
            if _said(control) == "encoder throw":
                raise Fail("sabotaged")
            if _said(control) == "encoder slow":
                time.sleep(_SLOW_S)
            while _said(control) == "encoder hang":
                time.sleep(_LOOK_S)
            return super().run(*args, **kwargs)

    onnxruntime.InferenceSession = Session


def _wrap_index(control: Path) -> None:
    real: Any = faiss.IndexScalarQuantizer.search

    def search(self: Any, *args: Any, **kwargs: Any) -> Any:
        if _said(control) == "index throw":
            raise RuntimeError("sabotaged")
        return real(self, *args, **kwargs)

    faiss.IndexScalarQuantizer.search = search  # type: ignore[method-assign] # the fault itself


def _wrap_clock(control: Path) -> None:
    real = time.time

    def now() -> float:
        said = _said(control)
        return real() + (float(said[6:]) if said.startswith("clock ") else 0.0)

    time.time = now


if __name__ == "__main__":
    main(sys.argv)
