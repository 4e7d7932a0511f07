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
GPTCACHE: Final = (
    # Source: GPTCache's `utils/__init__.py` and `adapter/openai.py`: what it would install by
    # itself when it is first used, the last release of openai's client that it runs with.
    *("gptcache==0.1.44", "openai==0.28.1", "fastapi", "uvicorn", "sqlalchemy", "faiss-cpu"),
    *("onnxruntime", "tokenizers"),
)


@dataclass(frozen=True, slots=True)
class Programs:
    """Where they stand.

    Attributes:
        litellm: Its `litellm` command.
        portkey: Its `build/start-server.js`.
        gptcache: The interpreter of its environment.
    """

    litellm: Path
    portkey: Path
    gptcache: Path


def installed() -> Programs:
    """All of them, installed if they are not there yet; what was installed once stays as it was."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "semantic-sidecar" / "peers"
    programs = Programs(
        folder / "litellm" / "bin" / "litellm",
        folder / "portkey" / "node_modules" / PORTKEY / "build" / "start-server.js",
        folder / "gptcache" / "bin" / "python",
    )
    if not programs.litellm.exists():
        _from_pypi(folder / "litellm", LITELLM)
    if not programs.gptcache.with_name("gptcache_server").exists():
        _from_pypi(folder / "gptcache", *GPTCACHE)
    if not programs.portkey.exists():
        _run("npm", "install", "--silent", "--prefix", str(folder / "portkey"), PORTKEY)
    return programs


def _from_pypi(environment: Path, *packages: str) -> None:
    _run(sys.executable, "-m", "venv", str(environment))
    _run(str(environment / "bin" / "python"), "-m", "pip", "install", "--quiet", *packages)


def _run(*command: str) -> None:
    subprocess.run(command, check=True)  # noqa: S603 - the commands stand above
