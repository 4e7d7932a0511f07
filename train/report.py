"""`python -m train report`: an evaluation in, one self-contained page with plots and tables out."""

from __future__ import annotations

import argparse
import html
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.figure import Figure

from train.dataset import load_encoder
from train.evaluate import SHARES, evaluate
from train.fit import WORK

HELP: Final = "one page on an artifact: curve, costs, calibration, domains, each with its baselines"

_STYLE: Final = """
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse;margin:1rem 0}
td,th{padding:.25rem .7rem;border-bottom:1px solid #ddd;text-align:right}
td:first-child,th:first-child{text-align:left}svg{max-width:100%;height:auto}
"""

_NOTE: Final = (
    "The router's prices of quality come from its artifact; baselines with a limit are swept on"
    " these very rows. Intervals are 95 %, by the bootstrap over rows."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own arguments."""
    parser.add_argument("--artifact", type=Path, required=True, metavar="DIR")
    parser.add_argument("--data", type=Path, nargs="+", required=True, metavar="FILE")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.html")
    parser.add_argument("--work", type=Path, default=WORK, help="where vectors are kept")


def run(args: argparse.Namespace) -> int:
    """Evaluate and write the page."""
    told = evaluate(args.artifact, args.data, args.work, args.seed, encoder=load_encoder())
    args.out.write_text(page(told), encoding="utf-8")
    print(json.dumps({"out": str(args.out)}) if args.json else f"wrote {args.out}")
    return 0


def page(told: Mapping[str, Any]) -> str:
    """The whole page; `told` as `train.evaluate.evaluate` gives it."""
    named = [
        [name, f"{p['correct']:.4f}", f"{p['usd_per_1k']:.3f}", f"{p['asked']:.2f}"]
        + [f"{share:.0%}" for share in p["served"].values()]
        for name, p in told["named"].items()
    ]
    tiers = list(told["prices"])
    calibration = [
        [name] + [f"{f[key]:.4f}" for key in ("auroc", "ece", "brier", "brier_of_mean")]
        for name, f in told["calibration"].items()
    ]
    domains = [
        [name, str(f["rows"]), f"{f['correct']:.3f}", f"{f['usd_per_1k']:.3f}"]
        + [f"{f[tier]:.3f}" for tier in tiers]
        for name, f in told["domains"].items()
    ]
    shares = [f"$/1k at {share:.0%}" for share in SHARES]
    parts = [
        f"<h1>Router {html.escape(told['artifact'])}</h1>",
        f"<p>{told['rows']} rows of {html.escape(', '.join(told['data']))}. {_NOTE}</p>",
        "<h2>Quality and cost</h2>",
        curve_svg(told),
        table(["method", "AUC", "95 %", "router leads by", "95 %", *shares], _methods(told)),
        "<h2>Named points</h2>",
        table(["point", "right", "$/1k", "tiers asked", *(f"served {t}" for t in tiers)], named),
        "<h2>Calibration</h2>",
        table(
            ["chance that it is right", "AUROC", "ECE", "Brier", "Brier of the mean"], calibration
        ),
        "<h2>Domains, at balanced</h2>",
        table(["domain", "rows", "right", "$/1k", *tiers], domains),
    ]
    head = f"<!doctype html><meta charset=utf-8><title>Router report</title><style>{_STYLE}</style>"
    return head + "\n".join(parts)


def _methods(told: Mapping[str, Any]) -> Iterable[list[str]]:
    for name, figures in told["methods"].items():
        low, high = figures["auc_interval"]
        lead = figures.get("router_leads_by")
        ends = figures.get("lead_interval")
        dollars = (figures["usd_per_1k_at"][f"{share:.2f}"] for share in SHARES)
        yield [
            name,
            f"{figures['auc']:.4f}",
            f"{low:.4f} to {high:.4f}",
            "" if lead is None else f"{lead:+.4f}",
            "" if ends is None else f"{ends[0]:+.4f} to {ends[1]:+.4f}",
            *("never" if dollar is None else f"{dollar:.3f}" for dollar in dollars),
        ]


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """An HTML table; every cell is escaped."""

    def line(cells: Sequence[str], kind: str) -> str:
        inner = "".join(f"<{kind}>{html.escape(cell)}</{kind}>" for cell in cells)
        return f"<tr>{inner}</tr>"

    return "<table>" + line(head, "th") + "".join(line(row, "td") for row in rows) + "</table>"


def curve_svg(told: Mapping[str, Any]) -> str:
    """The router's curve among the single tiers and the named points, as inline SVG."""
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    curve = told["curve"]
    axes.plot([p["usd_per_1k"] for p in curve], [p["correct"] for p in curve], label="router")
    for name, points in told["points"].items():
        if name != "router":
            style = "o--" if name == "single" else "-"
            axes.plot([p[0] for p in points], [p[1] for p in points], style, lw=1, label=name)
    for name, point in told["named"].items():
        axes.annotate(name, (point["usd_per_1k"], point["correct"]), fontsize=9)
    axes.set(xlabel="USD per 1,000 questions", ylabel="share right")
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    drawn = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "router"}):
        figure.savefig(drawn, format="svg", metadata={"Date": None})
    text = drawn.getvalue()
    return text[text.index("<svg") :]
