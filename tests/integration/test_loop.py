"""Over HTTP, from end to end: a poor router learns from its log, and a worse one does not last."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from router.artifact import Artifact
from sidecar.encoder.bundle import EncoderConfig
from sidecar.encoder.onnx import OnnxEncoder
from tests.integration.conftest import Running, Start
from tests.patience import until
from train.__main__ import main
from train.fitting.fit import with_table
from train.fitting.known import known_arrays
from train.fitting.learn import learn, rowset
from train.fitting.trees import TreesConfig
from train.samples.tier3 import read_tier3
from train.samples.traffic import read_traffic
from train.samples.vectors import vectors_of
from train.scoring.replay import ladder_of

TIERS = {"small": (0.2, 0.2), "large": (2.5, 10.0)}
QUICK = TreesConfig(trees=6, depth=2, rate=0.4)
PROMPTS = (
    "What is {a} plus {b}, added up by a child?",
    "Prove the convergence of the series with exponent {a} over the ring of order {b}.",
)


def row(number: int) -> dict[str, Any]:
    """The large tier is right throughout, the small one where it only has to add."""
    is_hard, a, b = number % 2, 3 + number, 7 + number * number % 89
    tokens_in, tokens_out = 20 + number % 9, 40 + number % 31
    return {
        "id": str(number),
        "domain": "hard" if is_hard else "easy",
        "gold": "A",
        "query": PROMPTS[is_hard].format(a=a, b=b),
        "answers": {
            tier: {
                "model": tier,
                "text": f"So the answer is ({'B' if tier == 'small' and is_hard else 'A'}).",
                "correct": int(tier == "large" or not is_hard),
                "tok_in": tokens_in,
                "tok_out": tokens_out,
                "cost_usd": (price[0] * tokens_in + price[1] * tokens_out) / 1e6,
            }
            for tier, price in TIERS.items()
        },
    }


ROWS = [row(int(number)) for number in np.random.default_rng(1).permutation(480)]
TAUGHT, GATE, MORE = ROWS[:280], ROWS[280:400], ROWS[400:]


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(each) + "\n" for each in rows))
    return path


def poor(folder: Path, name: str) -> Path:
    """An artifact that learnt the opposite: that the small tier is right where it is wrong."""
    turned = [
        {
            **each,
            "answers": {
                tier: {**told, "correct": 1 - told["correct"]}
                for tier, told in each["answers"].items()
            },
        }
        for each in GATE
    ]
    encoder = OnnxEncoder.load(EncoderConfig())
    examples = read_tier3([written(folder / "turned.jsonl", turned)])
    vectors = vectors_of(examples, encoder, folder / "work")
    arrays, crossed = learn(rowset(examples, vectors, tuple(TIERS)), 0, QUICK)
    arrays |= known_arrays(vectors, crossed.right[()], crossed.gain[()], 0)
    head: dict[str, Any] = {"encoder_ids": [encoder.encoder_id], "data": {}, "parent": None}
    head |= {"tiers": list(TIERS), "dim": int(vectors.shape[1])}
    ladder = ladder_of(examples, tuple(TIERS))
    with_table(head, arrays, crossed, examples, ladder=ladder).save(folder / name)
    return folder / name


def config(folder: Path, artifact: Path) -> tuple[str, str]:
    tiers = "\n".join(
        f'[[tiers]]\nname = "{name}"\nmodel = "{name}"\nupstreams = ["rows"]\n'
        f"price_in_usd_per_mtok = {cost[0]}\nprice_out_usd_per_mtok = {cost[1]}\n"
        for name, cost in TIERS.items()
    )
    upstream = f'[[upstreams]]\nname = "rows"\nkind = "replay"\npath = "{folder / "rows.jsonl"}"\n'
    router = (
        "[cache.lookup]\nbudget_s = 30.0\n\n"  # a slow machine must not leave a question unread
        f'[traffic]\ndir = "{folder / "traffic"}"\n\n[router]\nregistry = "{folder / "registry"}"\n'
        f'artifact = "{artifact}"\nexploration = 0.2\nshadow_share = 1.0\nshadow_tiers = "all"\n'
        "shadow_budget_usd_per_hour = 100.0\n\n[router.canary]\nsteps = [0.5, 1.0]\n"
        "requests = 20\nmax_cost_increase = 20.0\n\n"
    )
    return upstream + tiers, router


async def right(sidecar: Running, rows: list[dict[str, Any]]) -> float:
    """The share answered rightly; each answer is judged by its question's right one."""
    found = []
    for each in rows:
        answer = await sidecar.ask(each["query"], {"cache-control": "no-cache"})
        tier = answer.headers["x-sidecar-tier"]
        found.append(each["answers"][tier]["correct"])
        request_id = answer.headers["x-sidecar-request-id"]
        told = {"request_id": request_id, "score": found[-1], "correct_answer": each["gold"]}
        await sidecar.post("/v1/feedback", told)
    return float(np.mean(found))


async def until_over(sidecar: Running) -> int:
    """Ask until the trial is over; how many requests that took."""
    asked = 0
    while sidecar.lasting.rollout.state.candidate and asked < 2_000:
        await right(sidecar, [MORE[asked % len(MORE)]])
        await asyncio.sleep(0)
        asked += 1
    return asked


@pytest.mark.timeout(1_800)  # fits and asks for half a minute alone, and for more in company
async def test_a_poor_router_learns_from_its_log(
    start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Retrained, gated, tried and promoted without a restart; what it replaced cannot come back."""
    written(tmp_path / "rows.jsonl", ROWS)
    first = poor(tmp_path, "poor")
    sidecar = await start(*config(tmp_path, first))
    rollout, bad = sidecar.lasting.rollout, Artifact.load(first).version
    assert rollout.state.serving == bad
    before = await right(sidecar, TAUGHT)
    await sidecar.lasting.shadows.settled()
    log = tmp_path / "traffic"
    # The log's own thread writes.
    await until(lambda: len(read_traffic(log, sidecar.lasting.encoder_id)) >= len(TAUGHT))
    common = ["--work", str(tmp_path / "work"), "--json"]
    fit = ["fit", "--traffic", str(log), "--parent", str(first), "--out", str(tmp_path / "next")]
    assert main([*fit, *common]) == 0
    learnt = Artifact.load(tmp_path / "next")
    assert learnt.manifest["parent"] == bad
    assert learnt.manifest["refit"]["area"]["refit"] > learnt.manifest["refit"]["area"]["shift"]
    gate = ["--data", str(written(tmp_path / "gate.jsonl", GATE))]
    registry = ["--registry", str(tmp_path / "registry")]
    promote = ["promote", *gate, *registry, *common, "--artifact"]
    assert main([*promote, str(tmp_path / "next")]) == 0
    await rollout.look()
    assert rollout.state.stage == "shadow"
    assert await until_over(sidecar) < 2_000
    assert rollout.state.serving == learnt.version
    after = await right(sidecar, MORE)
    assert after > before + 0.2
    assert main([*promote, str(first)]) == 3  # the gate knows what it is worth
    assert main([*promote, str(first), "--force", "a drill"]) == 0
    await rollout.look()
    assert await until_over(sidecar) < 2_000
    assert rollout.state.serving == learnt.version
    actions = [change.action for change in rollout.state.history]
    assert actions[:4] == ["adopted", "shadow", "canary", "promoted"]
    assert actions[4:] in (["shadow", "rolled_back"], ["shadow", "canary", "rolled_back"])
    assert '"refuses"' in capsys.readouterr().out
