"""What `bench` measured in; one picture out: the cost of each path by contender."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl


def draw(figures: Mapping[str, Any], to: Path) -> None:
    """Bars of CPU a request at 16 connections, a group a path; logarithmic."""
    mpl.use("Agg")  # no screen is needed, nor there
    from matplotlib import pyplot as plt  # noqa: PLC0415 - after the choice of how to draw

    paths = list(figures["paths"])
    names = list(dict.fromkeys(name for told in figures["paths"].values() for name in told))
    figure, axes = plt.subplots(figsize=(10, 4.5), layout="constrained")
    width = 0.8 / len(names)
    for place, name in enumerate(names):
        rows = [
            (
                at + place * width,
                figures["paths"][path][name]["closed"].get("16", {}).get("cpu_us", 0.0),
            )
            for at, path in enumerate(paths)
            if name in figures["paths"][path]
        ]
        bars = axes.bar([x for x, _ in rows], [y for _, y in rows], width, label=name)
        axes.bar_label(bars, fmt="%.0f", fontsize=7)
    axes.set_yscale("log")
    axes.set_xticks([at + 0.4 - width / 2 for at in range(len(paths))], paths, fontsize=8)
    axes.set_ylabel("CPU a request, microseconds")
    axes.legend(fontsize=8)
    figure.savefig(to, dpi=120)
    plt.close(figure)
