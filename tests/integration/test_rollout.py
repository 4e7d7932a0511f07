"""A release over HTTP: shadow, canary, promotion, and a sabotaged artifact that is taken back.

The demo tiers are simulated; their questions have known answers, and the feedback sent here is
whether the answer served holds the right one.
"""

from __future__ import annotations

from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from router.artifact import DEFAULT, Artifact
from router.registry import Registry
from router.release import Note
from sidecar.providers.demo_questions import understand
from sidecar.traffic.reader import read_folder
from sidecar.traffic.record import FeedbackRecord, RequestRecord, ShadowRecord
from tests.integration.conftest import DEMO, Answer, Running, Start
from tests.patience import until as until_so
from tests.router.test_registry import variant
from train.__main__ import main

NOTE = Note(at=1.0, who="tester", reason="a test")

CONFIG = """
[router]
registry = "{registry}"
quality = 0.95
{more}
[router.canary]
steps = [0.5, 1.0]
requests = {requests}
min_labels = 20
{guards}

[traffic]
dir = "{traffic}"
"""


# So few requests differ by chance: with the guards' own margins one trial in twenty goes on and on.
LENIENT = """
max_quality_loss = 0.5
max_cost_increase = 5.0
max_escalation_increase = 1.0
"""


def config(folder: Path, *, requests: int = 30, more: str = "", guards: str = "") -> str:
    return CONFIG.format(
        registry=folder / "registry",
        traffic=folder / "traffic",
        requests=requests,
        more=more,
        guards=guards,
    )


async def ask(sidecar: Running, number: int, **headers: str) -> Answer:
    """One hard sum, never asked before."""
    question = f"What is ({number + 11} * {number + 23} + {number + 5}) * 7?"
    told = {name.replace("_", "-"): value for name, value in headers.items()}
    return await sidecar.ask(question, {"cache-control": "no-cache", **told})


async def ask_and_score(sidecar: Running, number: int) -> Answer:
    """The same, and whether it was right as feedback."""
    question = f"What is ({number + 11} * {number + 23} + {number + 5}) * 7?"
    answer = await sidecar.ask(question, {"cache-control": "no-cache"})
    known = understand(question)
    assert known is not None
    said = answer.body["choices"][0]["message"]["content"]
    told = {
        "request_id": answer.headers["x-sidecar-request-id"],
        "score": float(known.value in said),
    }
    assert (await sidecar.post("/v1/feedback", told)).status == 200
    return answer


async def served_by(sidecar: Running, count: int, first: int = 0) -> Counter[str]:
    """The versions that decided so many scored requests."""
    answers = [await ask_and_score(sidecar, first + number) for number in range(count)]
    return Counter(answer.headers["x-sidecar-router"] for answer in answers)


def released(folder: Path, shift: float) -> str:
    """An artifact with its smallest tier thought better of, on trial; its version."""
    registry = Registry(folder / "registry")
    version = registry.add(variant(folder / f"artifact{shift}", shift)).version
    registry.change(lambda state: state.trying(version, NOTE))
    return version


async def until(sidecar: Running, version: str, serving: str) -> int:
    """Scored requests until the trial of `version` is over."""
    for number in range(400):
        await ask_and_score(sidecar, number)
        state = sidecar.lasting.rollout.state
        if not state.candidate:
            assert state.serving == serving
            return number + 1
    raise AssertionError(f"the trial of {version} did not end")


async def test_a_sabotaged_artifact_is_taken_back(start: Start, tmp_path: Path) -> None:
    """Shadow lets it pass, for there it answers nobody; the canary's guard takes it back."""
    sidecar = await start(DEMO, config(tmp_path))
    shipped = Artifact.load(DEFAULT).version
    rollout = sidecar.lasting.rollout
    assert rollout.state.serving == shipped
    bad = released(tmp_path, 12.0)
    await rollout.look()
    assert rollout.state.stage == "shadow"
    assert (await ask(sidecar, 5_000)).headers["x-sidecar-router"] == shipped
    asked = await until(sidecar, bad, shipped)
    actions = [change.action for change in rollout.state.history]
    assert actions == ["adopted", "shadow", "canary", "rolled_back"]
    assert rollout.state.history[-1].reason.startswith(("quality", "errors", "escalations"))
    assert asked < 400
    assert set(await served_by(sidecar, 10, 1_000)) == {shipped}
    exposition = sidecar.lasting.metrics.exposition.text().decode()
    assert 'sidecar_router_rollout_state{state="none"} 1.0' in exposition
    assert 'sidecar_router_releases_total{action="rolled_back"} 1.0' in exposition
    for role in ("serving", "canary", "shadow"):
        assert f'sidecar_router_requests_total{{artifact_role="{role}"}}' in exposition


async def test_a_good_artifact_earns_its_place(start: Start, tmp_path: Path) -> None:
    """Each step is seen in the header, the state and the log; in the end it serves."""
    sidecar = await start(DEMO, config(tmp_path, guards=LENIENT))
    shipped, good = Artifact.load(DEFAULT).version, released(tmp_path, -0.05)
    await sidecar.lasting.rollout.look()
    await until(sidecar, good, good)
    history = sidecar.lasting.rollout.state.history
    assert [change.action for change in history] == ["adopted", "shadow", "canary", "promoted"]
    assert set(await served_by(sidecar, 5, 2_000)) == {good}
    sidecar.lasting.log.close()
    records = [r for r in read_folder(tmp_path / "traffic") if isinstance(r, RequestRecord)]
    roles = Counter((record.artifact_role, record.rival) for record in records)
    assert {("serving", good), ("canary", ""), ("serving", "")} <= set(roles)
    assert {record.artifact for record in records} == {shipped, good}


async def test_the_surest_word_is_the_one_that_guards_hear(start: Start, tmp_path: Path) -> None:
    """Another tier's gives way to the caller's, and the caller's to a reviewer's."""
    sidecar = await start(DEMO, config(tmp_path))
    rollout = sidecar.lasting.rollout
    released(tmp_path, 0.1)
    await rollout.look()
    answer = await ask(sidecar, 1)
    request_id, version = (answer.headers[f"x-sidecar-{n}"] for n in ("request-id", "router"))

    async def quality() -> float:
        arms = (await rollout.overview())["arms"].values()
        (found,) = (arm["quality"] for arm in arms if arm["version"] == version)
        return float(found)

    tenant = "anonymous"
    rollout.labelled(request_id, tenant, 1.0)
    assert await quality() == 1.0
    said = FeedbackRecord(request_id=request_id, at=1.0, tenant=tenant, score=0.0)
    rollout.feedback(said)
    rollout.labelled(request_id, tenant, 1.0)
    assert await quality() == 0.0
    rollout.feedback(replace(said, score=0.5, source="review"))
    rollout.feedback(said)
    assert await quality() == 0.5


async def test_rollback_takes_hold_without_a_restart(
    start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One command; the running sidecar notices by itself."""
    sidecar = await start(DEMO, config(tmp_path))
    shipped, rollout = Artifact.load(DEFAULT).version, sidecar.lasting.rollout
    registry = Registry(tmp_path / "registry")
    new = registry.add(variant(tmp_path / "new", 0.1)).version
    await rollout.change(lambda state: state.activating(new, NOTE))
    assert (await ask(sidecar, 1)).headers["x-sidecar-router"] == new
    assert main(["rollback", "--registry", str(registry.folder), "--reason", "a test"]) == 0
    assert "is taken back" in capsys.readouterr().out
    await until_so(lambda: rollout.state.serving == shipped)
    assert (await ask(sidecar, 2)).headers["x-sidecar-router"] == shipped


async def test_the_registry_outlives_a_restart(start: Start, tmp_path: Path) -> None:
    """What serves, serves again; a state file torn meanwhile costs the last change alone."""
    async with AsyncExitStack() as life:
        sidecar = await start(DEMO, config(tmp_path), life)
        new = released(tmp_path, 0.1)
        await sidecar.lasting.rollout.change(lambda state: state.activating(new, NOTE))
    async with AsyncExitStack() as life:
        sidecar = await start(DEMO, config(tmp_path), life)
        assert (await ask(sidecar, 1)).headers["x-sidecar-router"] == new
        await sidecar.lasting.rollout.change(lambda state: state.trying("nonesuch", NOTE))
        assert sidecar.lasting.rollout.state.serving == new  # what is not there is not followed
    (tmp_path / "registry" / "state.json").write_text("torn")
    sidecar = await start(DEMO, config(tmp_path))
    assert (await ask(sidecar, 2)).headers["x-sidecar-router"] == new


async def test_the_next_tier_is_asked_behind_the_callers_back(start: Start, tmp_path: Path) -> None:
    """Of routed requests alone; the log then knows whether the answer served would stand."""
    sidecar = await start(DEMO, config(tmp_path, more="shadow_share = 1.0"))
    answers = [await ask(sidecar, number, x_sidecar_quality="0") for number in range(8)]
    answers += [await sidecar.ask("What is 31 plus 6?", {"x-sidecar-quality": "0"})]
    await sidecar.ask("What is 3 plus 4?", {"x-sidecar-bypass": "1"})
    await sidecar.ask("What is 3 plus 5?", model="small")
    await sidecar.ask("What is 3 plus 6?", {"cache-control": "no-store"})
    await sidecar.lasting.shadows.settled()
    sidecar.lasting.log.close()
    records = list(read_folder(tmp_path / "traffic"))
    shadows = [record for record in records if isinstance(record, ShadowRecord)]
    routed = {answer.headers["x-sidecar-request-id"] for answer in answers}
    assert shadows
    assert {record.request_id for record in shadows} <= routed
    assert all(record.answer and record.propensity == 1.0 for record in shadows)
    assert {record.label for record in shadows} == {0.0, 1.0}  # the small tier errs in most
