"""Figures in, pictures as inline SVG out: the curve of cost and quality, and reliability."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any, Final

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from train.scoring.metrics import Point, hull

_BLUE: Final = "#1f5fbf"
_GREY: Final = "#8a8f98"
_RED: Final = "#c23b22"
_GREEN: Final = "#2e7d4f"
_TICKS: Final = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)


def curve_svg(
    told: Mapping[str, Any],
    balanced: Mapping[str, Any] | None = None,
    other: Mapping[str, Any] | None = None,
) -> str:
    """The router's curve among the single tiers, their random mix and the oracle.

    `balanced` draws the default point with its interval, `other` another artifact's curve.
    """
    figure = Figure(figsize=(8.6, 5.0), layout="constrained")
    axes = figure.subplots()
    singles = [p for p in told["points"]["single"] if p[0] > 0]
    oracle = [p for p in told["points"]["oracle"] if p[0] > 0]
    _mix(axes, singles)
    axes.plot(*_columns(oracle), ":", marker="*", color=_GREEN, lw=1, label="oracle")
    if other is not None:
        axes.plot(*_columns(other["curve"]), "-", color=_RED, lw=1.2, label=f"{other['artifact']}")
    curve = [[p["usd_per_1k"], p["correct"]] for p in told["curve"]]
    axes.plot(*_columns(curve), color=_BLUE, lw=2, label="router")
    for name, at in zip(told["prices"], singles, strict=False):
        axes.annotate(name, at, (0, -13), textcoords="offset points", ha="center", fontsize=9)
    for name, point in told["named"].items():
        at = point["usd_per_1k"], point["correct"]
        axes.plot(*at, "o", color=_BLUE, ms=5)
        axes.annotate(name, at, (-4, 7), textcoords="offset points", ha="right", color=_BLUE)
    if balanced is not None:
        _crossed(axes, balanced)
    _dollars(axes)
    axes.set(ylabel="share answered rightly", xlabel="USD per 1,000 questions (log scale)")
    axes.legend(loc="lower right", frameon=False)
    return svg(figure)


def _mix(axes: Axes, singles: Sequence[Sequence[float]]) -> None:
    """The single tiers, and the most that mixing them at random reaches: straight in dollars."""
    axes.plot(*_columns(singles), "s", color=_GREY, ms=6, label="single tiers")
    above = hull([Point(cost, quality) for cost, quality in singles])
    cost = [point.cost_usd for point in above]
    grid = np.geomspace(cost[0], max(point[0] for point in singles), 200)
    mixed = np.interp(grid, cost, [point.quality for point in above])
    axes.plot(grid, mixed, "--", color=_GREY, lw=1.2, label="random mix of tiers")


def _crossed(axes: Axes, point: Mapping[str, Any]) -> None:
    """The default point with its 95 % interval, in both directions."""
    at = point["usd_per_1k"], point["correct"]
    low, high = point["correct_interval"]
    cheap, dear = point["usd_per_1k_interval"]
    axes.errorbar(
        *at,
        xerr=[[at[0] - cheap], [dear - at[0]]],
        yerr=[[at[1] - low], [high - at[1]]],
        fmt="none",
        ecolor=_BLUE,
        elinewidth=1.4,
        capsize=4,
        label="balanced, 95 %",
    )


def _dollars(axes: Axes) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(list(_TICKS)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"${value:g}"))
    axes.grid(visible=True, alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def reliability_svg(told: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """Chances held against what came of them, one small picture each."""
    figure = Figure(figsize=(8.6, 2.6 * ((len(told) + 3) // 4)), layout="constrained")
    rows = figure.subplots((len(told) + 3) // 4, 4, squeeze=False)
    for axes, (name, bins) in zip(rows.flat, told.items(), strict=False):
        _diagram(axes, name, bins)
    for axes in list(rows.flat)[len(told) :]:
        axes.set_visible(False)
    figure.supxlabel("chance that was told", fontsize=9)
    figure.supylabel("share that was right", fontsize=9)
    return svg(figure)


def _diagram(axes: Axes, name: str, bins: Sequence[Mapping[str, float]]) -> None:
    axes.plot([0, 1], [0, 1], "--", color=_GREY, lw=1)
    chance, right = [b["chance"] for b in bins], [b["right"] for b in bins]
    spread = [[b["right"] - b["low"] for b in bins], [b["high"] - b["right"] for b in bins]]
    axes.errorbar(chance, right, yerr=spread, fmt="-", color=_BLUE, lw=1.3, elinewidth=1, capsize=2)
    most = max((b["rows"] for b in bins), default=1.0)
    sizes = [6 + 50 * b["rows"] / most for b in bins]
    axes.scatter(chance, right, s=sizes, color=_BLUE, zorder=3)
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes.set_title(name, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(visible=True, alpha=0.25)


def changes_svg(changes: Sequence[Mapping[str, Any]]) -> str:
    """By domain, how much quality changed against another artifact, with intervals."""
    figure = Figure(figsize=(8.6, 0.9 + 0.27 * len(changes)), layout="constrained")
    axes = figure.subplots()
    for place, each in enumerate(changes):
        low, high = each["interval"]
        colour = _RED if high < 0 else _GREEN if low > 0 else _GREY
        axes.plot([low, high], [place, place], color=colour, lw=1.6)
        axes.plot(each["change"], place, "o", color=colour, ms=5)
    axes.axvline(0, color="#444", lw=0.8)
    axes.set_yticks(range(len(changes)), [f"{c['domain']} ({c['rows']})" for c in changes])
    axes.tick_params(labelsize=9)
    axes.set_xlabel("change of the share answered rightly, at balanced, 95 %")
    axes.grid(visible=True, axis="x", alpha=0.25)
    axes.spines[["top", "right", "left"]].set_visible(False)
    return svg(figure)


def svg(figure: Figure) -> str:
    """The drawing as one element, the same for the same figures."""
    drawn = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "router"}):
        figure.savefig(drawn, format="svg", metadata={"Date": None})
    text = drawn.getvalue()
    return text[text.index("<svg") :]


def _columns(points: Sequence[Sequence[float]]) -> tuple[list[float], list[float]]:
    return [p[0] for p in points], [p[1] for p in points]
