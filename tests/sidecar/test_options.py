"""Request headers: each is read once, and a wrong one is named."""

from __future__ import annotations

from decimal import Decimal

import pytest

from sidecar.errors import MalformedRequest, NotBuilt
from sidecar.options import parse_options


def test_nothing_said_is_nothing_asked() -> None:
    """Every header is optional."""
    options = parse_options({})
    assert (options.quality, options.max_cost_usd, options.tags) == (None, None, ())
    assert options.steering == {}


def test_what_is_said_is_read() -> None:
    """Values come out as what they mean."""
    options = parse_options(
        {
            "cache-control": "no-store",
            "x-sidecar-quality": "0",
            "x-sidecar-max-cost-usd": "0.01",
            "x-sidecar-timeout-ms": "1500",
            "x-sidecar-tags": "a, b:c",
            "x-sidecar-bypass": "1",
            "traceparent": "00-1-2-01",
            "cookie": "secret",
        }
    )
    assert options.cache_control.no_store
    assert options.quality == 0.0
    assert options.max_cost_usd == Decimal("0.01")
    assert options.timeout_s == 1.5
    assert options.tags == ("a", "b:c")
    assert options.bypass
    assert options.upstream_headers == {"traceparent": "00-1-2-01"}


def test_what_steers_the_answer_is_part_of_its_key() -> None:
    """Quality 0 is a wish of its own, not the absence of one."""
    assert parse_options({"x-sidecar-quality": "0"}).steering == {"x-sidecar-quality": "0.0"}
    assert parse_options({"x-sidecar-tags": "a"}).steering == {}


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("x-sidecar-quality", "supreme"),
        ("x-sidecar-quality", "1.5"),
        ("x-sidecar-quality", "nan"),
        ("x-sidecar-max-cost-usd", "-1"),
        ("x-sidecar-max-cost-usd", "Infinity"),
        ("x-sidecar-timeout-ms", "0"),
        ("x-sidecar-timeout-ms", "soon"),
        ("x-sidecar-similarity", "2"),
        ("x-sidecar-namespace", "a b"),
        ("x-sidecar-namespace", "a" * 200),
        ("x-sidecar-tags", ",".join("abcdefghijklmnopqrs")),
        ("cache-control", "max-age=soon"),
    ],
)
def test_a_wrong_header_is_named(header: str, value: str) -> None:
    """The caller learns which one, before anything is asked."""
    with pytest.raises(MalformedRequest) as caught:
        parse_options({header: value})
    assert caught.value.param == header


def test_a_managed_prompt_is_refused_by_name() -> None:
    """A header of the contract that is not served must not be ignored."""
    with pytest.raises(NotBuilt):
        parse_options({"x-sidecar-prompt": "greeting@2"})
