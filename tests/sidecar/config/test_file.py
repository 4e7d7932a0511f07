"""Config: every fault at once with its path, secrets from the environment, nothing half."""

from __future__ import annotations

import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from sidecar.config.file import load_config, parse_config
from sidecar.config.sections import Config
from sidecar.errors import ConfigError

GOOD = """
[[upstreams]]
name = "demo"
kind = "demo"

[[tiers]]
name = "small"
model = "demo-small"
upstreams = ["demo"]
price_in_usd_per_mtok = 0.1
"""


def parsed(text: str) -> Config:
    return parse_config(tomllib.loads(text))


def faults(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parsed(text)
    return list(caught.value.faults)


def test_defaults_are_enough() -> None:
    """One upstream and one tier make a sidecar; a price is the decimal that is written."""
    config = parsed(GOOD)
    assert config.server.host == "127.0.0.1"
    assert config.tiers[0].price_in_usd_per_mtok == Decimal("0.1")


def test_all_faults_come_at_once_each_with_its_path() -> None:
    """Nobody mends a config fault by fault."""
    told = faults(
        """
        [server]
        prot = 1
        port = "x"
        [cache]
        ttl_s = "long"
        [cache.semantic]
        mode = "maybe"
        [[upstreams]]
        name = "a"
        kind = "telepathy"
        [[upstreams]]
        kind = "openai"
        timeouts = { total = 2 }
        [[tiers]]
        name = "small"
        model = "m"
        upstreams = ["a"]
        price_in_usd_per_mtok = -1
        [cach]
        """
    )
    starts = {
        "server.prot: unknown key; did you mean port?",
        "server.port: must be a whole number",
        "cache.ttl_s: must be a number",
        "cache.semantic.mode: must be one of on, shadow, off",
        "upstreams[0].kind: must be one of openai, demo, replay",
        "upstreams[1].name: is missing",
        "upstreams[1].timeouts.total: unknown key; did you mean total_s?",
        "tiers[0]: a price must not be negative",
        "cach: unknown key; did you mean cache?",
    }
    assert starts <= set(told)


@pytest.mark.parametrize(
    ("extra", "fault"),
    [
        pytest.param(
            '[[tiers]]\nname="small"\nmodel="m"\nupstreams=["demo"]', "two are", id="twin"
        ),
        pytest.param('[[tiers]]\nname="x"\nmodel="m"\nupstreams=["dmeo"]', "demo?", id="typo"),
        pytest.param('[[tiers]]\nname="auto"\nmodel="m"\nupstreams=["demo"]', "taken", id="auto"),
        pytest.param('[router]\ndefault_tier="smal"', "did you mean small?", id="default-tier"),
        pytest.param('[[tenants]]\nname="t"\nkeys=["k"]\ntiers=["big"]', "'big'", id="tenant-tier"),
        pytest.param('[server]\nadmin_host="0.0.0.0"', "loopback", id="open-operator-plane"),
        pytest.param('[cache.semantic]\nverify_judge="smal"', "did you mean small?", id="judge"),
        pytest.param("[cache.semantic]\nverify_share=1.5", "between 0 and 1", id="verify-share"),
        pytest.param('[cache.shared]\nurl="redis://x"', "not built", id="not-built"),
        pytest.param("[cache.semantic]\ncandidates=0", "candidates", id="no-candidates"),
        pytest.param("[cache.semantic]\nmin_similarity=2", "min_similarity", id="similarity"),
        pytest.param("[server]\nworkers=0", "workers must lie in 1 to 64", id="workers"),
        pytest.param("[cache]\nttl_jitter_ratio=1.5", "ttl_jitter_ratio", id="jitter"),
        pytest.param("[cache]\nstale_if_error_s=-1", "stale_if_error_s", id="stale"),
        pytest.param(
            '[cache]\nmax_bytes=9\n[[tenants]]\nname="t"\nkeys=["k"]\ncache_bytes=10',
            "more than cache.max_bytes",
            id="quotas",
        ),
        pytest.param("[server]\nqueue_timeout_s=-1", "queue_timeout_s", id="queue-timeout"),
        pytest.param("[admission]\nanswer_tokens=0", "answer_tokens", id="answer-tokens"),
        pytest.param(
            '[[tenants]]\nname="t"\nkeys=["k"]\npriority="urgent"',
            "tenants[0].priority: must be one of interactive, batch",
            id="priority",
        ),
        pytest.param(
            '[[tenants]]\nname="t"\nkeys=["k"]\nrequests_per_minute=0',
            "requests_per_minute must be positive",
            id="no-rate",
        ),
        pytest.param('[[tenants]]\nname="t"\nkeys=["env:NO_SUCH_NAME"]', "NO_SUCH_NAME", id="env"),
    ],
)
def test_what_no_section_sees_alone_is_seen(extra: str, fault: str) -> None:
    """References, doubles and parts of the contract that are not there yet."""
    told = faults(GOOD + extra)
    assert len(told) == 1
    assert fault in told[0]


@pytest.mark.parametrize(
    ("address", "fault"),
    [
        pytest.param("ftp://vendor/v1", "http:// or https://", id="scheme"),
        pytest.param("https:///v1", "must name a server", id="no-server"),
        pytest.param("https://vendor:port/v1", "must name a server", id="no-port"),
        pytest.param("https://vendor:99999/v1", "must name a server", id="far-port"),
        pytest.param("https://[::1/v1", "must name a server", id="half-an-address"),
        pytest.param("https://me:secret@vendor/v1", "no user and no password", id="password"),
    ],
)
def test_an_address_is_a_servers_and_holds_no_secret(address: str, fault: str) -> None:
    """Told when the config is read, not with the first request; and never with the secret."""
    extra = f'[[upstreams]]\nname="far"\nkind="openai"\nbase_url="{address}"'
    told = faults(GOOD + extra)
    assert len(told) == 1
    assert told[0].startswith("upstreams[1]: base_url")
    assert fault in told[0]
    assert "secret@" not in told[0]


def test_a_budget_where_nothing_has_a_price_is_refused() -> None:
    """It would hold nothing, and somebody would rely on it."""
    free = GOOD.replace("price_in_usd_per_mtok = 0.1", "")
    told = faults(free + '[[tenants]]\nname = "t"\nkeys = ["k"]\nbudget_usd = 1')
    assert told == ["tenants[0]: a budget holds nothing as long as no tier has a price"]


def test_what_asks_for_nothing_is_let_pass() -> None:
    """A key that is not built yet may stand there with the value that every sidecar has."""
    assert parsed(GOOD + '[telemetry]\notlp_endpoint = ""').server.port == 8080


def test_secrets_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """`env:NAME` stands in the file, the secret does not, and the digest does not know it."""
    text = GOOD + '[[tenants]]\nname = "t"\nkeys = ["env:SIDECAR_TEST_KEY"]'
    monkeypatch.setenv("SIDECAR_TEST_KEY", "s3cret")
    config = parsed(text)
    assert config.tenants[0].keys == ("s3cret",)
    monkeypatch.setenv("SIDECAR_TEST_KEY", "other")
    assert parsed(text).digest == config.digest


@pytest.mark.parametrize("name", ["demo", "ollama", "vllm", "openai", "mixed"])
def test_every_preset_is_valid(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What we hand out works."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    presets = Path(__file__).parents[3] / "sidecar" / "presets"
    assert load_config(presets / f"{name}.toml").tiers


def test_the_example_is_valid_and_names_every_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """sidecar.example.toml is the reference: a key that it does not show does not exist."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    monkeypatch.setenv("SIDECAR_ADMIN_TOKEN", "t")
    monkeypatch.setenv("SHOP_API_KEY", "k")
    path = Path(__file__).parents[3] / "sidecar.example.toml"
    config = load_config(path)
    text = path.read_text()
    sections: list[Any] = [
        config.server,
        config.encoder,
        config.cache,
        config.semantic,
        config.lookup,
    ]
    sections += [config.disk, config.router, config.traffic, config.telemetry]
    sections += [config.upstreams[0], config.tiers[0], config.tenants[0]]
    missing = [
        f"{type(section).__name__}.{name}"
        for section in sections
        for name in section.__dataclass_fields__
        if f"{name} = " not in text
    ]
    assert missing == []


def test_a_file_that_cannot_be_read_is_a_fault(tmp_path: Path) -> None:
    """Absent, and no TOML."""
    with pytest.raises(ConfigError):
        load_config(tmp_path / "absent.toml")
    (tmp_path / "bad.toml").write_text("= 1")
    with pytest.raises(ConfigError):
        load_config(tmp_path / "bad.toml")
