"""The cache's figures in, tables to be read out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def tables(report: Mapping[str, Any]) -> str:
    """All of them, one under the other, in Markdown."""
    return "\n\n".join(
        [
            _stages(report["stages"], report["rows"]),
            _allowed(report["allowed"]),
            _left_out(report["left_out"]),
            _lookalikes(report["lookalikes"]),
            _served(report["lookalikes"]),
            _latency(report["latency_ms"]),
        ]
    )


def _stages(stages: Mapping[str, Any], rows: Mapping[str, int]) -> str:
    head = ("file", "stage", "AUC", "avg. precision", "at 1 %", "at 2 %", "at 5 %", "ECE")
    lines = [
        (
            f"{file} ({rows[file]})",
            stage,
            _three(told["auc"], 3),
            f"{told['average_precision'][0]:.3f}",
            *(_three([100 * v for v in told[f"coverage_at_{b}"]], 1) for b in (0.01, 0.02, 0.05)),
            f"{told['ece']:.3f}",
        )
        for file, by_stage in stages.items()
        for stage, told in by_stage.items()
    ]
    return _table("Share of all questions served at so many wrong hits, in %", head, lines)


def _three(value: Sequence[float], digits: int) -> str:
    middle, low, high = (f"{each:.{digits}f}" for each in value)
    return f"{middle} [{low}-{high}]"


def _allowed(allowed: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    lines = [
        (stage, bound, str(turn), _files(told))
        for stage, turns in allowed.items()
        for turn, bounds in enumerate(turns)
        for bound, told in bounds.items()
    ]
    title = "What the operating table allows: % of questions (wrong of hits, share [95 %])"
    return _table(title, ("stage", "bound", "shuffle", "files"), lines)


def _left_out(left_out: Mapping[str, Any]) -> str:
    lines = [
        (corpus, stage, bound, _files(told))
        for corpus, stages in left_out.items()
        for stage, bounds in stages.items()
        for bound, told in bounds.items()
    ]
    title = "A corpus that neither model nor limit has seen"
    return _table(title, ("corpus", "stage", "bound", "files"), lines)


def _files(told: Mapping[str, Any] | None) -> str:
    if told is None:
        return "nothing: no risk is shown to hold it"
    return "; ".join(
        f"{name} {100 * f['coverage']:.1f} ({f['wrong']} of {f['hits']}, "
        f"{100 * f['wrong_ratio']:.1f} % [{100 * f['low']:.1f}-{100 * f['high']:.1f}])"
        for name, f in told.items()
        if name != "risk"
    )


def _lookalikes(told: Mapping[str, Any]) -> str:
    names = list(next(iter(told.values()))["auc"])
    lines = []
    for source, figures in told.items():
        lines.append((f"**{source}**", str(figures["pairs"]), *_row(figures["auc"], names)))
        for kind, stages in figures["by_kind"].items():
            if kind:
                row = {name: each["auc"] for name, each in stages.items()}
                lines.append((kind, str(next(iter(stages.values()))["pairs"]), *_row(row, names)))
    return _table("AUC on look-alikes kept apart", ("of", "pairs", *names), lines)


def _row(auc: Mapping[str, float | None], names: Iterable[str]) -> list[str]:
    return ["" if auc[name] is None else f"{auc[name]:.2f}" for name in names]


def _served(told: Mapping[str, Any]) -> str:
    lines = [
        (
            source,
            stage,
            bound,
            f"{f['of_same']} of {f['same']}",
            f"{f['wrong']} of {f['hits']} [{100 * f['low']:.0f}-{100 * f['high']:.0f} %]",
        )
        for source, figures in told.items()
        for stage, bounds in figures["served"].items()
        for bound, f in bounds.items()
    ]
    title = "What is served of look-alikes"
    return _table(title, ("of", "stage", "bound", "right ones served", "wrong of hits"), lines)


def _latency(told: Mapping[str, Mapping[str, float]]) -> str:
    lines = [(name, f"{at['p50']:.3f}", f"{at['p99']:.3f}") for name, at in told.items()]
    return _table("Milliseconds", ("step", "p50", "p99"), lines)


def _table(title: str, head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join([f"{title}:", "", *(f"| {' | '.join(row)} |" for row in rows)])
