"""`python -m train report`: an evaluation in, one self-contained page with plots and tables out."""

from __future__ import annotations

import argparse
import html
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from router.artifact import DEFAULT, Artifact
from train.fitting.fit import WORK
from train.samples.keys import add_key, find_cipher
from train.samples.tier3 import read_tier3
from train.samples.vectors import TextEncoder, load_encoder, vectors_of
from train.weighing import logged, portrait
from train.weighing.evaluate import SHARES, evaluate
from train.weighing.plots import changes_svg, curve_svg, reliability_svg

HELP: Final = "one page on an artifact: curve, calibration, domains, what got worse, off-policy"

_STYLE: Final = """
:root{color-scheme:light}
body{font:15px/1.55 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1.2rem;
color:#1d232b;background:#fff}
h1{font-size:1.6rem;margin-bottom:.2rem}h2{font-size:1.15rem;margin-top:2.4rem}
.gist{font-size:1.05rem;background:#f3f6fb;border-left:4px solid #1f5fbf;padding:.7rem 1rem}
.note{color:#5b6470;font-size:.9rem}
table{border-collapse:collapse;margin:.8rem 0;font-size:.9rem;display:block;overflow-x:auto}
td,th{padding:.25rem .65rem;border-bottom:1px solid #e3e6ea;text-align:right;white-space:nowrap;
font-variant-numeric:tabular-nums}
th{color:#5b6470;font-weight:600;white-space:normal;vertical-align:bottom;
border-bottom:2px solid #cfd5dc}
td:first-child,th:first-child{text-align:left}
tr.bad td{color:#b3261e}tr.good td{color:#1f6b3f}
svg{max-width:100%;height:auto}
"""

_NOTE: Final = (
    "The router's prices of quality come from its artifact; baselines with a limit are swept on"
    " these very rows. Intervals are 95 %, by the bootstrap over rows; of single shares, Wilson's."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own arguments."""
    parser.add_argument("--artifact", type=Path, required=True, metavar="DIR")
    parser.add_argument("--data", type=Path, nargs="+", required=True, metavar="FILE")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.html")
    parser.add_argument(
        "--against", type=Path, metavar="DIR", help="what got worse than this artifact, by domain"
    )
    parser.add_argument(
        "--traffic",
        type=Path,
        metavar="DIR",
        help="off-policy estimates from the log, beside --against or the artifact that comes along",
    )
    parser.add_argument("--work", type=Path, default=WORK, help="where vectors are kept")
    add_key(parser)


def run(args: argparse.Namespace) -> int:
    """Evaluate and write the page."""
    told = figures(args, load_encoder())
    args.out.write_text(page(told), encoding="utf-8")
    print(json.dumps({"out": str(args.out), **told}) if args.json else f"wrote {args.out}")
    return 0


def figures(args: argparse.Namespace, encoder: TextEncoder) -> dict[str, Any]:
    """All that the page shows, as plain values."""
    told = evaluate(args.artifact, args.data, args.work, args.seed, encoder=encoder)
    artifact, examples = Artifact.load(args.artifact), read_tier3(args.data)
    vectors = vectors_of(examples, encoder, args.work)
    told["portrait"] = portrait.portrait(artifact, examples, vectors, args.seed)
    other = Artifact.load(args.against or DEFAULT)
    if args.against:
        told["against"] = portrait.against(artifact, other, examples, vectors, args.seed)
    if args.traffic:
        report, estimates = logged.compare(
            artifact,
            other,
            args.traffic,
            encoder.encoder_id,
            seed=args.seed,
            cipher=find_cipher(args.traffic_key),
        )
        told["off_policy"] = {
            **report.told(),
            "candidate": artifact.version,
            "serving": other.version,
            "estimates": estimates,
        }
    return {name: _plain(part) for name, part in told.items()}


def _plain(part: Any) -> Any:
    """For JSON, which knows no NaN: what was never reached is null."""
    if isinstance(part, Mapping):
        return {name: _plain(inner) for name, inner in part.items()}
    if isinstance(part, list | tuple):
        return [_plain(inner) for inner in part]
    return None if isinstance(part, float) and math.isnan(part) else part


def page(told: Mapping[str, Any]) -> str:
    """The whole page; `told` as `figures` gives it, its last parts where they were asked for."""
    seen, other = told["portrait"], told.get("against")
    title = f"Router {told['artifact']}"
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        f"<p class=note>{told['rows']} rows of {html.escape(', '.join(told['data']))}.</p>",
        f"<p class=gist>{html.escape(_gist(told))}</p>",
        "<h2>Quality and cost</h2>",
        curve_svg(told, seen["balanced"], other),
        table(_METHODS, _methods(told)),
        f"<p class=note>{_NOTE}</p>",
        "<h2>Named points</h2>",
        table(_points_head(told), _points(told)),
        *(_against(other) if other else ()),
        "<h2>Calibration</h2>",
        reliability_svg(seen["reliability"]),
        f"<p class=note>{_DOTS}</p>",
        table(_CALIBRATION, _calibration(told)),
        "<h2>Domains, at balanced</h2>",
        table(_domains_head(told), _domains(told)),
        *(_off_policy(told["off_policy"]) if "off_policy" in told else ()),
    ]
    head = (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style>"
    )
    return head + "\n".join(parts) + "</html>\n"


_DOTS: Final = (
    "A dot's size is its number of rows; bars are 95 %. On the dashed line a chance keeps its word."
)
_METHODS: Final = (
    *("method", "AUC", "95 %", "router leads by", "95 %"),
    *(f"$/1k at {share:.0%}" for share in SHARES),
)
_CALIBRATION: Final = ("chance that it is right", "AUROC", "ECE", "Brier", "Brier of the mean")


def _gist(told: Mapping[str, Any]) -> str:
    """The page in three sentences."""
    point, mix = told["portrait"]["balanced"], told["methods"]["single"]
    low, high = point["correct_interval"]
    cheap, dear = point["usd_per_1k_interval"]
    begin, end = mix["lead_interval"]
    words = (
        f"At balanced {point['correct']:.3f} [{low:.3f}, {high:.3f}] of the answers are right, at "
        f"${point['usd_per_1k']:.3f} [{cheap:.3f}, {dear:.3f}] per 1,000. "
        f"Over the whole curve the router leads the random mix of tiers by "
        f"{mix['router_leads_by']:+.4f} [{begin:+.4f}, {end:+.4f}]."
    )
    if other := told.get("against"):
        area = other["checks"][0]
        begin, end = area["interval"]
        words += (
            f" Against {other['artifact']}: {area['lead']:+.4f} [{begin:+.4f}, {end:+.4f}] of the "
            f"area; {len(other['worse'])} domains are worth less beyond doubt."
        )
    return words


def _methods(told: Mapping[str, Any]) -> Iterable[list[str]]:
    for name, method in told["methods"].items():
        low, high = method["auc_interval"]
        lead, ends = method.get("router_leads_by"), method.get("lead_interval")
        dollars = (method["usd_per_1k_at"][f"{share:.2f}"] for share in SHARES)
        yield [
            "random mix of tiers" if name == "single" else name,
            f"{method['auc']:.4f}",
            f"{low:.4f} to {high:.4f}",
            "" if lead is None else f"{lead:+.4f}",
            "" if ends is None else f"{ends[0]:+.4f} to {ends[1]:+.4f}",
            *("never" if dollar is None else f"{dollar:.3f}" for dollar in dollars),
        ]


def _points_head(told: Mapping[str, Any]) -> list[str]:
    return ["point", "right", "$/1k", "tiers asked", *(f"served {t}" for t in told["prices"])]


def _points(told: Mapping[str, Any]) -> Iterable[list[str]]:
    for name, p in told["named"].items():
        yield [
            name,
            f"{p['correct']:.4f}",
            f"{p['usd_per_1k']:.3f}",
            f"{p['asked']:.2f}",
            *(f"{share:.0%}" for share in p["served"].values()),
        ]


def _calibration(told: Mapping[str, Any]) -> Iterable[list[str]]:
    for name, f in told["calibration"].items():
        yield [name, *(f"{f[key]:.4f}" for key in ("auroc", "ece", "brier", "brier_of_mean"))]


def _domains_head(told: Mapping[str, Any]) -> list[str]:
    return ["domain", "rows", "right", "95 %", "$/1k", *told["prices"], "best single"]


def _domains(told: Mapping[str, Any]) -> Iterable[list[str]]:
    for name, f in told["domains"].items():
        low, high = told["portrait"]["domains"][name]
        single = [f[tier] for tier in told["prices"]]
        yield [
            name or "(no domain)",
            str(f["rows"]),
            f"{f['correct']:.3f}",
            f"{low:.3f} to {high:.3f}",
            f"{f['usd_per_1k']:.3f}",
            *(f"{share:.3f}" for share in single),
            f"{max(single):.3f}",
        ]


def _against(other: Mapping[str, Any]) -> Iterable[str]:
    """What got better and worse than another artifact, paired by row."""
    yield f"<h2>Against {html.escape(other['artifact'])}</h2>"
    head = ("asked", "before", "after", "lead", "95 %", "the gate")
    yield table(head, (_check(check) for check in other["checks"]))
    yield changes_svg(other["changes"])
    worse = [
        [
            each["name"],
            str(each["rows"]),
            f"{each['lead']:+.4f}",
            "{:+.4f} to {:+.4f}".format(*each["interval"]),
            "{:.3f} to {:.3f}".format(*each["quality"]),
        ]
        for each in other["worse"]
    ]
    if worse:
        yield "<p>Worth less beyond doubt (quality less the price of its cost):</p>"
        yield table(("domain", "rows", "worth", "95 %", "quality"), worse)
    else:
        yield "<p>No domain is worth less beyond doubt.</p>"
    yield table(
        ("domain", "rows", "before", "after", "change", "95 %", "$/1k before", "after"),
        (_change(each) for each in other["changes"]),
    )


def _check(check: Mapping[str, Any]) -> list[str]:
    ends = check["interval"]
    return [
        check["name"],
        f"{check['serving']:.4f}",
        f"{check['candidate']:.4f}",
        "" if check["lead"] is None else f"{check['lead']:+.4f}",
        "" if ends is None else f"{ends[0]:+.4f} to {ends[1]:+.4f}",
        "pass" if check["passed"] else "FAIL",
    ]


def _change(each: Mapping[str, Any]) -> list[str]:
    return [
        each["domain"],
        str(each["rows"]),
        f"{each['before']:.3f}",
        f"{each['after']:.3f}",
        f"{each['change']:+.3f}",
        "{:+.3f} to {:+.3f}".format(*each["interval"]),
        f"{each['usd_per_1k_before']:.3f}",
        f"{each['usd_per_1k_after']:.3f}",
    ]


def _off_policy(told: Mapping[str, Any]) -> Iterable[str]:
    """What both artifacts would have come to on the logged requests, by three estimates."""
    yield "<h2>Off-policy, from the log</h2>"
    yield (
        f"<p class=note>{told['rows']} labelled requests whose entry tier was drawn with a known "
        "chance; what follows the entry tier is taken as it was logged. DR: doubly robust, SNIPS: "
        "self-normalised, IPS: plain inverse propensities.</p>"
    )
    rows = [
        [
            f"{told[name]}, {what}",
            *map(_estimate, (ways.get(way) for way in ("dr", "snips", "ips"))),
            f"{ways['effective_rows']:.0f}",
        ]
        for name, quantities in told["estimates"].items()
        for what, ways in quantities.items()
    ]
    yield table(("artifact, quantity", "DR", "SNIPS", "IPS", "effective rows"), rows)
    head = ("asked", "before", "after", "lead", "95 %", "the gate")
    yield table(head, (_check(check) for check in told["checks"]))


def _estimate(way: Mapping[str, Any] | None) -> str:
    if way is None:
        return "none"
    low, high = way["interval"]
    return f"{way['value']:.5f} [{low:.5f}, {high:.5f}]"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """An HTML table; every cell is escaped."""

    def line(cells: Sequence[str], kind: str) -> str:
        inner = "".join(f"<{kind}>{html.escape(cell)}</{kind}>" for cell in cells)
        return f"<tr>{inner}</tr>"

    return "<table>" + line(head, "th") + "".join(line(row, "td") for row in rows) + "</table>"
