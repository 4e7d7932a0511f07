"""The locks' promise, and the bill of materials that is made of them."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).parents[2] / "requirements"
HASH = "--hash=sha256:" + "0" * 64


@pytest.fixture(scope="module")
def supply() -> ModuleType:
    spec = importlib.util.spec_from_file_location("supply", HERE / "supply.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("lock", ["serve.txt", "dev.txt"])
def test_every_release_is_exact_and_hashed(supply: ModuleType, lock: str) -> None:
    """Nothing else can be installed from the locks than what was locked."""
    assert supply.check({lock: (HERE / lock).read_text()}, {}) == []


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(f"aiohttp>=3 {HASH}", id="no-exact-version"),
        pytest.param("aiohttp==3.14.5", id="no-hash"),
        pytest.param("aiohttp==3.14.5 --hash=md5:" + "0" * 32, id="weak-hash"),
        pytest.param(f"aiohttp @ https://example.org/a.whl {HASH}", id="address"),
        pytest.param("--extra-index-url https://example.org/simple", id="other-index"),
        pytest.param(f"-e . {HASH}", id="path"),
    ],
)
def test_a_line_that_holds_less_is_a_fault(supply: ModuleType, line: str) -> None:
    """Each of these lets somebody else decide what is installed."""
    assert supply.check({"x.txt": line + "\n"}, {})


def test_what_is_installed_must_be_what_is_locked(supply: ModuleType) -> None:
    """And what two locks name must be one release, unless a marker parts them."""
    one, two = f"a==1 {HASH}\n", f"a==2 {HASH}\n"
    assert supply.check({"x": one}, {"a": "1", "b": "7"}) == []
    assert supply.check({"x": one}, {"a": "2"}) == ["a 2 is installed, 1 is locked"]
    assert supply.check({"x": one, "y": two}, {})
    parted = f"a==1 ; python_version < '3.12' {HASH}\na==2 ; python_version >= '3.12' {HASH}\n"
    assert supply.check({"x": parted}, {"a": "2"}) == []


def test_the_bill_lists_every_locked_release(supply: ModuleType) -> None:
    """Each with its version, its address in the package world, and its hashes."""
    lock = (HERE / "serve.txt").read_text()
    bill = supply.sbom(supply.releases(lock)[0], "semantic-sidecar", "1")
    pinned = set(re.findall(r"^([a-z0-9._-]+)==(\S+)", lock, re.MULTILINE))
    assert {(each["name"], each["version"]) for each in bill["components"]} == pinned
    assert sum(len(each["hashes"]) for each in bill["components"]) == lock.count("sha256:")
    assert all(each["purl"].startswith("pkg:pypi/") for each in bill["components"])
    assert len(bill["dependencies"][0]["dependsOn"]) == len(pinned)


def test_the_same_lock_gives_the_same_bill(supply: ModuleType) -> None:
    """No time and no chance in it: two builds can be compared."""
    found = supply.releases((HERE / "serve.txt").read_text())[0]
    assert supply.sbom(found, "x", "1") == supply.sbom(list(reversed(found)), "x", "1")
    assert supply.sbom(found, "x", "1") != supply.sbom(found[1:], "x", "1")


def installed(name: str, **told: bool) -> dict[str, object]:
    return {"metadata": {"name": name, "version": "1.0"}, **told}


@pytest.mark.parametrize(
    ("releases", "fault"),
    [
        pytest.param([installed("a", is_yanked=True)], "a 1.0: its authors", id="withdrawn"),
        pytest.param([installed("a")], "a 1.0: this pip does not tell", id="untold"),
        pytest.param([], "the report names no release", id="nothing"),
    ],
)
def test_a_release_that_was_withdrawn_is_told(
    supply: ModuleType, releases: list[dict[str, object]], fault: str
) -> None:
    """And so is a report that does not tell: what was not asked is not clean."""
    clean = installed("b", is_yanked=False)
    (told,) = supply.yanked({"install": [*releases, clean] if releases else []})
    assert told.startswith(fault)
    assert supply.yanked({"install": [clean]}) == []
