"""What is installed is what stands in the tree."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROOMS = ("cache", "loadtest", "router", "sidecar", "train")
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]


def _packages() -> list[str]:
    cards = (card for room in ROOMS for card in (ROOT / room).rglob("__init__.py"))
    return sorted(str(card.parent.relative_to(ROOT)).replace("/", ".") for card in cards)


def test_every_room_is_installed() -> None:
    """A folder that is left out of the list is missing from an image, and nobody notices here."""
    assert sorted(SETTINGS["packages"]) == _packages()


def test_every_file_that_is_no_code_is_installed() -> None:
    """Artifacts, presets and the like: the patterns of `package-data` find each of them."""
    told = SETTINGS["package-data"]
    found = {
        path
        for package, patterns in told.items()
        for pattern in patterns
        for path in (ROOT / package.replace(".", "/")).glob(pattern)
    }
    lies = [
        path
        for room in ROOMS
        for path in (ROOT / room).rglob("*")
        if path.is_file() and path.suffix not in {".py", ".pyc"} and path.name != "py.typed"
    ]
    assert [path for path in lies if path not in found] == []
