"""What the switches come to, and what may be set at all."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.overrides.override import (
    MAX_EXPIRES_S,
    MAX_HELD,
    SWITCHES,
    UNRULED,
    VALUED,
    Override,
    Overrides,
)


def override(switch: Any, value: str = "", tenant: str = "", **fields: Any) -> Override:
    return Override(
        switch=switch,
        value=value,
        tenant=tenant,
        **{"reason": "why", "set_at": 0.0, "expires_at": 10.0, **fields},
    )


@pytest.mark.parametrize(
    ("switch", "fields"),
    [
        pytest.param("all-off", {}, id="unknown"),
        pytest.param("cache-off", {"value": "small"}, id="value-of-no-use"),
        pytest.param("force-tier", {}, id="no-tier"),
        pytest.param("cache-off", {"reason": " "}, id="no-reason"),
        pytest.param("cache-off", {"reason": "x" * 501}, id="long-reason"),
        pytest.param("cache-off", {"reason": "a\nb"}, id="line-break"),
        pytest.param("cache-off", {"tenant": "a\x1b[2J"}, id="control-character"),
        pytest.param("cache-off", {"expires_at": 0.0}, id="over-already"),
        pytest.param("cache-off", {"expires_at": MAX_EXPIRES_S + 1}, id="too-long"),
        pytest.param("cache-off", {"expires_at": float("nan")}, id="never"),
        pytest.param("cache-off", {"expires_at": float("inf")}, id="for-ever"),
    ],
)
def test_a_switch_without_an_end_a_reason_or_a_sense_is_refused(
    switch: str, fields: dict[str, Any]
) -> None:
    """Nothing is off for ever, and nobody wonders why."""
    with pytest.raises(ValueError, match=r"switch|value|reason|tenant|expires"):
        override(switch, **fields)


def test_each_switch_says_what_it_switches() -> None:
    """One thing each; all else works as the config says."""
    told: dict[str, dict[str, Any]] = {
        "semantic-off": {"semantic": False},
        "cache-off": {"cache": False},
        "cascade-off": {"cascade": False},
        "force-tier": {"forced": "small"},
        "block-model": {"blocked": frozenset({"small"})},
        "read-only": {"writes": False},
    }
    for switch in SWITCHES:
        value = "small" if switch in VALUED else ""
        ruling = Overrides((override(switch, value),)).ruling("anyone", 5.0)
        for name in ("semantic", "cache", "cascade", "writes", "forced", "blocked"):
            expected = told[switch].get(name, getattr(UNRULED, name))
            assert getattr(ruling, name) == expected, (switch, name)
        assert ruling.switches == (switch,)


def test_a_tenants_own_tier_is_forced_on_it_alone() -> None:
    """The narrower order wins, in whichever sequence they were given."""
    orders = (override("force-tier", "small", "t"), override("force-tier", "large"))
    for held in (orders, orders[::-1]):
        assert Overrides(held).ruling("t", 1.0).forced == "small"
        assert Overrides(held).ruling("u", 1.0).forced == "large"


def test_setting_again_replaces_and_blocks_add_up() -> None:
    """One force-tier a tenant; as many blocked models as are named."""
    overrides = Overrides()
    for value in ("small", "large"):
        overrides = overrides.adding(override("force-tier", value))
        overrides = overrides.adding(override("block-model", value))
    assert overrides.ruling("t", 1.0).forced == "large"
    assert overrides.ruling("t", 1.0).blocked == {"small", "large"}
    assert overrides.ruling("t", 1.0).blocks("x", "small")
    lifted = overrides.less(override("block-model", "small").key)
    assert lifted.ruling("t", 1.0).blocked == {"large"}


def test_no_more_than_an_operator_can_keep_in_mind() -> None:
    """What is one too many is refused; replacing one is not."""
    overrides = Overrides()
    for number in range(MAX_HELD):
        overrides = overrides.adding(override("cache-off", tenant=f"t{number}"))
    assert len(overrides.adding(override("cache-off", tenant="t0")).held) == MAX_HELD
    with pytest.raises(ValueError, match="at most"):
        overrides.adding(override("cache-off", tenant="one-more"))


HELD = st.builds(
    lambda switch, tenant, set_at, lasts_s: override(
        switch,
        "small" if switch in VALUED else "",
        tenant,
        set_at=set_at,
        expires_at=set_at + lasts_s,
    ),
    st.sampled_from(SWITCHES),
    st.sampled_from(["", "t", "u"]),
    st.floats(0, 100),
    st.floats(1, 100),
)


@given(st.lists(HELD, max_size=8), st.floats(0, 250))
def test_nothing_holds_at_or_after_its_end(held: list[Override], now_at: float) -> None:
    """Whoever tidies up or not, and a tenant hears of nobody else's."""
    overrides = Overrides(tuple(held))
    ruling = overrides.ruling("t", now_at)
    mine = {e.switch for e in held if now_at < e.expires_at and e.tenant in {"", "t"}}
    assert set(ruling.switches) == mine
    assert (ruling is UNRULED) == (not mine)
    assert overrides.at(now_at).ruling("t", now_at) == ruling


@given(st.lists(HELD, max_size=8))
def test_what_is_written_is_what_is_read(held: list[Override]) -> None:
    """`from_map(to_map(o)) == o`."""
    assert [Override.from_map(each.to_map()) for each in held] == held
