"""The verb `qqp`: real questions from a cold cache, each served answer held against its question.

The upstream is the simulated vendor, whose answer names the question that it was made for. Two
kinds of files: pairs (`text_a`, `text_b`, `label`) make a stream; equivalence rows (`cached`,
`query`, `label`) are asked pair by pair, each pair in a namespace of its own.
"""

from __future__ import annotations

import argparse
import itertools
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any, Final

import aiohttp

from loadtest.callers.answers import Reply
from loadtest.callers.client import ask, in_turns, session
from loadtest.measures.intervals import Rate, weighted, wilson
from loadtest.questions.clusters import Clusters, clustered, popular, questions
from loadtest.questions.tier3 import lines
from loadtest.report import Report, Table
from loadtest.servers.processes import NotReady, Stand, find_or_start
from loadtest.vendors.provider import question_of

_BANDS: Final = (0.0, 0.80, 0.85, 0.90, 0.95, 0.98)
"""Chosen: lower ends; wide where hits are rare, narrow where most of them fall."""


_NOTE: Final = (
    "The upstream is the simulated vendor; a served answer is wrong if the question that it was "
    "made for asks something else. Intervals: 95 %, Wilson."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One request of the stream.

    Attributes:
        question: What was asked.
        reply: What came.
        owner: The question that the served answer was made for; None if the answer names none.
        is_right: The owner asks the same as the question.
    """

    question: str
    reply: Reply
    owner: str | None
    is_right: bool


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own flags."""
    parser.add_argument(
        "--data", type=Path, nargs="+", required=True, help="pairs or equivalence rows, .gz too"
    )
    parser.add_argument("--requests", type=int, default=3_000, help="of each stream (default 3000)")
    parser.add_argument("--clusters", type=int, default=1_500, help="popular ones (default 1500)")
    parser.add_argument("--distractors", type=float, default=0.3, help="share (default 0.3)")
    parser.add_argument("--exponent", type=float, default=1.0, help="Zipf's (default 1)")
    parser.add_argument("--streams", type=int, default=1, help="seeds, from --seed on (default 1)")
    parser.add_argument("--rows", type=int, default=10_000, help="equivalence rows at most")
    parser.add_argument("--model", default="small", help="tier to ask (default small)")
    parser.add_argument("--at-once", type=int, default=4, help="requests in flight (default 4)")


async def report(args: argparse.Namespace) -> Report:
    """Hits, and wrong hits over hits and over requests, for each file."""
    tables: list[Table] = []
    figures: dict[str, Any] = {}
    notes = [_NOTE]
    for path in args.data:
        async with find_or_start(args.base_url) as stand, session() as http:
            await _check_vendor(http, args, stand)
            first = next(lines(path))
            measure = _equivalence if "cached" in first else _stream
            found, told, note = await measure(args, http, stand, path)
        tables += found
        figures[path.name] = told
        notes.append(note)
    return Report(title="Real questions through HTTP", tables=tables, figures=figures, notes=notes)


async def _check_vendor(
    http: aiohttp.ClientSession, args: argparse.Namespace, stand: Stand
) -> None:
    headers = {"cache-control": "no-cache, no-store"}
    reply = await ask(http, stand.base_url, "Who is there?", model=args.model, headers=headers)
    if question_of(reply.text) != "Who is there?":
        raise NotReady(
            f"{stand.base_url} does not answer by the simulated vendor (status {reply.status}): "
            "point its upstreams at `python -m loadtest provider`, or ask an address where no "
            "sidecar runs, and one is started"
        )


async def _stream(
    args: argparse.Namespace, http: aiohttp.ClientSession, stand: Stand, path: Path
) -> tuple[list[Table], dict[str, Any], str]:
    pairs = ((r["text_a"].strip(), r["text_b"].strip(), bool(r["label"])) for r in lines(path))
    clusters = clustered(pairs)
    seen: list[Seen] = []
    for seed in range(args.seed, args.seed + args.streams):
        rng = Random(seed)
        order = popular(clusters, args.clusters, rng)
        stream = questions(
            clusters, order, distractor_ratio=args.distractors, exponent=args.exponent, rng=rng
        )
        # A namespace a seed: each stream begins cold, also at a sidecar that others asked before.
        headers = {"x-sidecar-namespace": f"qqp-{seed}-{rng.randrange(2**32):08x}"}

        async def one(question: str, headers: Mapping[str, str] = headers) -> Seen:
            reply = await ask(http, stand.base_url, question, model=args.model, headers=headers)
            return _seen(clusters, question, reply)

        drawn = itertools.islice(stream, args.requests)
        seen += await in_turns(drawn, one, at_once=args.at_once)
    tables = [_stream_table(path.name, seen), _band_table(seen)]
    note = (
        f"{path.name}: the labels are noisy, and 'duplicate' is not quite 'the same answer "
        "serves': some wrong hits are right answers, and the other way round. The equivalence "
        "files are the scoreboard."
    )
    return tables, _stream_figures(seen), note


def _seen(clusters: Clusters, question: str, reply: Reply) -> Seen:
    owner = question_of(reply.text)
    is_right = owner is not None and clusters.of.get(owner) == clusters.of[question]
    return Seen(question=question, reply=reply, owner=owner, is_right=is_right)


def _rates(seen: Sequence[Seen]) -> dict[str, Rate]:
    semantic = [one for one in seen if one.reply.cache == "hit-semantic"]
    hits = [one for one in seen if one.reply.is_hit]
    wrong = sum(not one.is_right for one in hits)
    fresh_wrong = sum(one.owner != one.question for one in seen if not one.reply.is_hit)
    return {
        "exact hits": wilson(len(hits) - len(semantic), len(seen)),
        "semantic hits": wilson(len(semantic), len(seen)),
        "wrong hits over all hits": wilson(wrong, len(hits)),
        "wrong hits over semantic hits": wilson(wrong, len(semantic)),
        "wrong hits over requests": wilson(wrong, len(seen)),
        "no answer, or a fresh one to another question": wilson(fresh_wrong, len(seen)),
    }


def _stream_table(name: str, seen: Sequence[Seen]) -> Table:
    rows = [("requests", str(len(seen))), *((what, str(r)) for what, r in _rates(seen).items())]
    return Table(title=f"{name}, as a stream", headings=("what", "figure"), rows=rows)


def _stream_figures(seen: Sequence[Seen]) -> dict[str, Any]:
    return {
        "requests": len(seen),
        "rates": {name: asdict(rate) for name, rate in _rates(seen).items()},
        "caches": dict(Counter(one.reply.cache for one in seen)),
    }


def _wrong_ratio(hits: Sequence[Seen]) -> Rate:
    return wilson(sum(not hit.is_right for hit in hits), len(hits))


def _band_table(seen: Sequence[Seen]) -> Table:
    bands: defaultdict[float, list[Seen]] = defaultdict(list)
    for one in seen:
        if one.reply.cache == "hit-semantic":
            similarity = one.reply.number("similarity")
            bands[max(band for band in _BANDS if band <= max(similarity, 0.0))].append(one)
    rows = [
        (
            f"from {band:.2f}",
            str(len(some)),
            str(_wrong_ratio(some)),
        )
        for band, some in sorted(bands.items())
    ]
    headings = ("similarity", "semantic hits", "wrong")
    return Table(title="Semantic hits by similarity", headings=headings, rows=rows)


async def _equivalence(
    args: argparse.Namespace, http: aiohttp.ClientSession, stand: Stand, path: Path
) -> tuple[list[Table], dict[str, Any], str]:
    rows = list(itertools.islice(lines(path), args.rows))
    run = f"{path.name.split('.')[0]}-{Random().randrange(2**32):08x}"

    async def one(numbered: tuple[int, Mapping[str, Any]], field: str) -> Reply:
        number, row = numbered
        headers = {"x-sidecar-namespace": f"{run}-{number}"}
        text = row[field].strip()
        return await ask(http, stand.base_url, text, model=args.model, headers=headers)

    numbered = list(enumerate(rows))
    # All of the first, then all of the second: what is kept off a request's path is there by then.
    await in_turns(numbered, lambda pair: one(pair, "cached"), at_once=args.at_once)
    replies = await in_turns(numbered, lambda pair: one(pair, "query"), at_once=args.at_once)
    tables, figures = _equivalence_report(path.name, rows, replies)
    note = (
        f"{path.name}: each pair in a namespace of its own; weighted by population_share, so that "
        "coverage is a share of all questions, its interval by Wilson at the effective size. Where "
        "the cache was calibrated on these very rows, this shows that it does what it says, and is "
        "no figure on unseen ones."
    )
    return tables, figures, note


def _equivalence_report(
    name: str, rows: Sequence[Mapping[str, Any]], replies: Sequence[Reply]
) -> tuple[list[Table], dict[str, Any]]:
    in_band = Counter(row["bucket"] for row in rows)
    weights = [row["population_share"] / in_band[row["bucket"]] for row in rows]
    hits = [reply.is_hit for reply in replies]
    wrong = [hit and not row["label"] for hit, row in zip(hits, rows, strict=True)]
    hit_places = [place for place, hit in enumerate(hits) if hit]
    # Shares of all questions: the bands that the file leaves out hold no near neighbour, so no hit.
    scale = min(1.0, sum(weights))
    covered = weighted(hits, weights)
    rates = {
        "served, of all questions": _scaled(covered, scale),
        "wrong, of those served": weighted(
            [wrong[place] for place in hit_places], [weights[place] for place in hit_places]
        ),
        "wrong, of all questions": _scaled(weighted(wrong, weights), scale),
        "wrong hits, unweighted": wilson(sum(wrong), len(hit_places)),
    }
    table = Table(
        title=f"{name}, pair by pair",
        headings=("what", "figure"),
        rows=[
            ("pairs", str(len(rows))),
            ("hits, unweighted", str(len(hit_places))),
            *((what, str(rate)) for what, rate in rates.items()),
            ("not answered", str(sum(not reply.is_whole for reply in replies))),
        ],
    )
    figures = {
        "pairs": len(rows),
        "hits": len(hit_places),
        "rates": {what: asdict(rate) for what, rate in rates.items()},
    }
    return [table], figures


def _scaled(rate: Rate, scale: float) -> Rate:
    return Rate(rate.value * scale, rate.low * scale, rate.high * scale)
