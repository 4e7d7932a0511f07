"""Rules, bounds, goals and sessions over HTTP: who is asked, who never is, and what is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sidecar.traffic.reader import read_folder
from sidecar.traffic.record import RequestRecord
from tests.integration.conftest import DEMO, Answer, Running, Start
from tests.integration.vendor import Vendors

FRESH = {"cache-control": "no-cache, no-store", "x-sidecar-debug": "1"}
KEY = {"authorization": "Bearer k-private"}
QUESTIONS = [f"What is {n} plus 7?" for n in range(3)]


TENANTS = """
[[tenants]]
name = "private"
keys = ["k-private"]
upstreams = ["home"]

[[tenants]]
name = "open"
keys = ["k-open"]
"""


def two_houses(root: str, more: str = TENANTS, tier: str = "") -> str:
    """Every tier at `away` first, then `home`; the top one at `away` alone."""
    told = "".join(
        f'[[upstreams]]\nname = "{name}"\nkind = "openai"\nbase_url = "{root}/{name}/v1"\n'
        "retries = 1\n"
        for name in ("home", "away")
    )
    for name, upstreams in (
        ("small", ["away", "home"]),
        ("medium", ["away", "home"]),
        ("large", ["away"]),
    ):
        told += (
            f'[[tiers]]\nname = "{name}"\nmodel = "m-{name}"\nupstreams = {json.dumps(upstreams)}\n'
            f"price_in_usd_per_mtok = 1.0\nprice_out_usd_per_mtok = 1.0\n{tier}\n"
        )
    return f"[cache.lookup]\nbudget_s = 30.0\n{told}{more}"


PATHS = [
    pytest.param({}, {}, "", id="router"),
    pytest.param({"model": "small"}, {}, "", id="pinned"),
    pytest.param({"stream": True}, {}, "", id="stream"),
    pytest.param({}, {"x-sidecar-bypass": "1"}, "", id="bypass"),
    pytest.param({}, {"x-sidecar-quality": "best"}, "", id="escalation"),
    pytest.param({}, {}, 'balance = "latency"', id="balanced"),
    pytest.param({}, {}, "hedge_after = 0.001", id="hedged"),
]


@pytest.mark.parametrize(("fields", "headers", "tier"), PATHS)
@pytest.mark.parametrize("fault", ["", "500", "truncate-1"], ids=["well", "failing", "torn"])
async def test_a_bound_tenant_never_leaves_its_upstreams(
    start: Start,
    vendors: Vendors,
    root: str,
    fields: dict[str, object],
    headers: dict[str, str],
    tier: str,
    fault: str,
) -> None:
    """Whatever is asked of it, and however the one that it may go to fails."""
    sidecar = await start(two_houses(root, tier=tier))
    vendors.faults["home"] = fault
    for question in QUESTIONS:
        await sidecar.ask(question, {**KEY, **FRESH, **headers}, **fields)
    assert vendors.calls["away"] == 0
    assert vendors.calls["home"] >= len(QUESTIONS)
    other = await sidecar.ask(QUESTIONS[0], {**FRESH, "authorization": "Bearer k-open"})
    assert other.status == 200
    assert vendors.calls["away"] > 0


async def test_nor_does_what_is_asked_behind_its_back(
    start: Start, vendors: Vendors, root: str
) -> None:
    """Hits that are checked, by the tier and by a judge it may not ask; refreshes; shadow asks."""
    extra = """
[cache]
ttl_s = 0.05
ttl_jitter_ratio = 0.0
stale_while_revalidate_s = 60.0

[cache.semantic]
verify_share = 1.0
verify_budget_usd_per_hour = 100.0
verify_judge = "large"

[router]
shadow_share = 1.0
shadow_budget_usd_per_hour = 100.0
"""
    sidecar = await start(two_houses(root), extra=extra)
    for question in ("What is 12 plus 7?", "How much is 12 plus 7?") * 4:
        await sidecar.ask(question, {**KEY, "x-sidecar-max-tier": "medium"})
        await sidecar.settled()
    await sidecar.lasting.overseer.settled()
    await sidecar.lasting.refreshes.close()
    await sidecar.lasting.shadows.close()
    assert vendors.calls["away"] == 0
    assert vendors.calls["home"] > 0


async def test_a_tier_that_a_bound_tenant_cannot_reach_is_refused(
    start: Start, vendors: Vendors, root: str
) -> None:
    """By name as by floor, and nobody is asked."""
    sidecar = await start(two_houses(root))
    pinned = await sidecar.ask("q", KEY, model="large")
    floor = await sidecar.ask("q", {**KEY, "x-sidecar-min-tier": "large"})
    assert {pinned.status, floor.status} == {400}
    assert not vendors.calls


RULES = """
[router]
sticky_sessions = true
rules = [
  { name = "sealed", when = { regex = "(?i)confidential" }, upstreams = ["home"] },
  { name = "code", when = { tags = ["code"] }, route = { tier = "medium" } },
  { name = "greeting", when = { examples = ["hello, how are you?", "good morning to you"] }, route = { max_tier = "small" } },
  { name = "german", when = { languages = ["de"] }, route = { min_tier = "medium", max_tier = "medium" } },
]
"""  # noqa: E501 - an inline table must stand on one line


async def routed(sidecar: Running, text: str, **headers: str) -> tuple[str, str, str]:
    """The rule, the reason and the tier of one request."""
    named = {f"x-sidecar-{name}": value for name, value in headers.items()}
    told: Answer = await sidecar.ask(text, {**FRESH, **named})
    assert told.status == 200
    reason = told.headers.get("x-sidecar-tier-reason", "").partition(":")[0]
    return told.headers.get("x-sidecar-rule", ""), reason, told.headers["x-sidecar-tier"]


async def test_rules_come_before_the_router(
    start: Start, vendors: Vendors, root: str, tmp_path: Path
) -> None:
    """By pattern, tag, language and meaning; told in header, metric and log."""
    extra = RULES + f'[traffic]\ndir = "{tmp_path}"\n'
    sidecar = await start(two_houses(root, more=""), extra=extra)
    assert await routed(sidecar, "Write a loop.", tags="code") == ("code", "rule", "medium")
    assert await routed(sidecar, "Hello there, how are you doing?") == (
        "greeting",
        "only_one",
        "small",
    )
    question = "Wie komme ich mit der Bahn nach Hamburg und was kostet das?"
    assert await routed(sidecar, question) == ("german", "only_one", "medium")
    assert (await routed(sidecar, "What is 3 plus 4?"))[0] == ""
    vendors.calls.clear()
    assert (await routed(sidecar, "This is Confidential: x."))[0] == "sealed"
    assert (vendors.calls["away"], vendors.calls["home"]) == (0, 1)
    assert (
        b'sidecar_router_rules_total{rule="code"} 1.0' in sidecar.lasting.metrics.exposition.text()
    )
    sidecar.lasting.log.close()
    told = [each for each in read_folder(tmp_path) if isinstance(each, RequestRecord)]
    assert [each.rule for each in told] == ["code", "greeting", "german", "", "sealed"]


async def test_a_failing_specialist_costs_no_answer(
    start: Start, vendors: Vendors, root: str
) -> None:
    """The rule's tier is asked first, others where it fails; the caller's own bounds come first."""
    sidecar = await start(two_houses(root, more=""), extra=RULES)
    vendors.faults["home"] = "500"
    assert (await routed(sidecar, "Write a loop.", tags="code"))[2] == "medium"
    capped = {"tags": "code", "max-tier": "small"}
    assert (await routed(sidecar, "Write a loop.", **capped))[2] == "small"


async def test_another_rule_is_another_answer(start: Start, vendors: Vendors, root: str) -> None:
    """What a rule's tier said is not served to whom the rule does not speak of."""
    sidecar = await start(two_houses(root, more=""), extra=RULES)
    first = await sidecar.ask("Write a loop.", {"x-sidecar-tags": "code"})
    again = await sidecar.ask("Write a loop.", {"x-sidecar-tags": "code"})
    other = await sidecar.ask("Write a loop.")
    caches = [answer.headers["x-sidecar-cache"] for answer in (first, again, other)]
    assert caches == ["miss", "hit-exact", "miss"]


async def test_a_conversation_keeps_its_tier(start: Start, root: str) -> None:
    """Named by the caller: what a dear request began goes on there though asked to be cheaper."""
    margin = RULES.replace("sticky_sessions = true", "sticky_sessions = true\nsticky_margin = 1.0")
    sidecar = await start(two_houses(root, more=""), extra=margin)
    question = "Prove that there are infinitely many primes."
    bounds = {"min-tier": "large", "session": "s-1"}
    # One tier alone is no choice, and is not remembered as one; of two the dearer one is.
    await routed(sidecar, question, **bounds)
    alone = await routed(sidecar, question)
    first = await routed(sidecar, question, session="s-2", **{"min-tier": "medium"})
    later = await routed(sidecar, question, session="s-2")
    assert later[2] == first[2]
    assert (await routed(sidecar, question, session="s-1"))[2] == alone[2]


GOAL = """
[router]
budget_usd_per_1k = 0.05
"""


async def test_a_goal_moves_the_price_and_is_told(start: Start) -> None:
    """Routed requests alone: a pinned one and one with a quality of its own move nothing."""
    sidecar = await start(DEMO, extra=GOAL)
    await sidecar.ask("What is 3 plus 4?", FRESH, model="large")
    await sidecar.ask("What is 3 plus 4?", {**FRESH, "x-sidecar-quality": "best"})
    assert list(sidecar.lasting.steering.standings()) == []
    for number in range(5):
        await sidecar.ask(f"How many days are there from May {number + 1} to June 9?", FRESH)
    ((name, pacer),) = sidecar.lasting.steering.standings()
    assert (name, pacer.bills) == ("all", 5)
    assert pacer.had > 0.0
    exposed = sidecar.lasting.metrics.exposition.text()
    assert b'sidecar_router_lambda{tenant="all"}' in exposed
    assert b'sidecar_router_goal_ratio{tenant="all"}' in exposed


async def test_traffic_is_watched_for_drift(start: Start) -> None:
    """Decisions are counted; feedback is held against the confidence, once, for its own tenant."""
    sidecar = await start()
    drifting = sidecar.lasting.drifting
    told = await sidecar.ask("What is 3 plus 4?", FRESH)
    said = {"request_id": told.headers["x-sidecar-request-id"], "score": 0.0}
    await sidecar.post("/v1/feedback", said, {"authorization": "Bearer other"})
    await sidecar.post("/v1/feedback", said)
    await sidecar.post("/v1/feedback", said)
    assert drifting.standings["input"].seen == 1
    assert drifting.report()["artifact"] == told.headers["x-sidecar-router"]
    assert (
        b'sidecar_router_drift_alarm{kind="input"} 0.0' in sidecar.lasting.metrics.exposition.text()
    )
