"""Other gateways from their registries, each in an environment of its own in the user's cache."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

LITELLM: Final = "litellm[proxy]"
PORTKEY: Final = "@portkey-ai/gateway"


@dataclass(frozen=True, slots=True)
class Programs:
    """Where they stand.

    Attributes:
        litellm: Its `litellm` command.
        portkey: Its `build/start-server.js`.
    """

    litellm: Path
    portkey: Path


def installed() -> Programs:
    """Both, installed if they are not there yet; what was installed once stays as it was."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "semantic-sidecar" / "peers"
    programs = Programs(
        folder / "litellm" / "bin" / "litellm",
        folder / "portkey" / "node_modules" / PORTKEY / "build" / "start-server.js",
    )
    if not programs.litellm.exists():
        _run(sys.executable, "-m", "venv", str(folder / "litellm"))
        _run(str(folder / "litellm" / "bin" / "pip"), "install", "--quiet", LITELLM)
    if not programs.portkey.exists():
        _run("npm", "install", "--silent", "--prefix", str(folder / "portkey"), PORTKEY)
    return programs


def _run(*command: str) -> None:
    subprocess.run(command, check=True)  # noqa: S603 - the commands stand above
