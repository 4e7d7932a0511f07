"""How often the interpreter looks for cycles of garbage, once all that stays is there.

As it comes it looks after every 700 objects, and every so often at all of them: with encoder, index
libraries and configuration loaded a hundred thousand, which stops the loop for 70 ms. What was
there before the first request is therefore put out of its sight, and it looks less often. Nearly
all of a request's objects go by themselves when their last name does; what is left for it are the
few cycles of tasks and faults.
"""

from __future__ import annotations

import gc
from typing import Final

THRESHOLDS: Final = (10_000, 20, 20)
"""Measured: `python -m loadtest bench --only pass-through`, see docs/performance.md: a fifth of a
passed request's time went into looking, with (700, 10, 10)."""


def settle() -> None:
    """All that is there now stays; to be called once, when the process is about to serve."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
