"""A lock file in, what can be said of its supply out: is every line held, and what is in it.

`python requirements/supply.py check` holds the locks to their promise: each line one release, by
its exact version, with the sha256 of every file that may be installed for it; no address, no path,
no option; what both locks name is the same release; and, of what is installed here, every version
is a locked one. `yanked REPORT` reads what pip reports of an installation that it does not make: is
any locked release withdrawn by its authors? That needs an index that tells. `sbom` writes
serve.txt as CycloneDX (https://cyclonedx.org/docs/1.6/json/), the same bytes for the same lock.
What advisories say none of them knows: `make audit` asks pip-audit.
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
import uuid
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, Final, NamedTuple

HERE: Final = Path(__file__).parent
LOCKS: Final = ("serve.txt", "dev.txt")
_LINE: Final = re.compile(
    r"(?P<name>[a-z0-9][a-z0-9._-]*)==(?P<version>[A-Za-z0-9.!+_-]+)"
    r"(?: ; (?P<marker>[^#]+?))?(?P<hashes>(?: --hash=sha256:[0-9a-f]{64})+)\Z"
)


class Release(NamedTuple):
    """One line of a lock.

    Attributes:
        name: Of the package.
        version: Exactly.
        marker: Where it is installed; empty for everywhere.
        hashes: sha256 of each file that may be, as hex.
    """

    name: str
    version: str
    marker: str
    hashes: tuple[str, ...]


def releases(lock: str) -> tuple[list[Release], list[str]]:
    """What the lock's text holds, and the lines that hold no release as they should."""
    found, faults = [], []
    for line in _logical(lock):
        if match := _LINE.match(line):
            hashes = re.findall(r"sha256:([0-9a-f]{64})", match["hashes"])
            name, version, marker = match["name"], match["version"], match["marker"] or ""
            found.append(Release(name, version, marker, tuple(hashes)))
        else:
            faults.append(f"no exact version with its hashes: {line[:100]}")
    return found, faults


def _logical(lock: str) -> Iterator[str]:
    for line in lock.replace("\\\n", " ").splitlines():
        if told := " ".join(line.split()):
            yield told


def check(locks: Mapping[str, str], installed: Mapping[str, str]) -> list[str]:
    """All that keeps the locks, by name, from what they promise."""
    faults: list[str] = []
    pinned: dict[tuple[str, str], str] = {}
    for lock, text in locks.items():
        found, odd = releases(text)
        faults += [f"{lock}: {fault}" for fault in odd]
        for each in found:
            other = pinned.setdefault((each.name, each.marker), each.version)
            if other != each.version:
                faults.append(f"{lock}: {each.name} {each.version}, elsewhere {other}")
    locked: dict[str, set[str]] = {}
    for (name, _), version in pinned.items():
        locked.setdefault(name, set()).add(version)
    for name in sorted(locked.keys() & installed.keys()):
        if installed[name] not in locked[name]:
            told = " or ".join(sorted(locked[name]))
            faults.append(f"{name} {installed[name]} is installed, {told} is locked")
    return faults


def yanked(report: Mapping[str, Any]) -> list[str]:
    """What in pip's report speaks against a release: its authors withdrew it, or pip cannot say.

    Source: pip's documentation, "Installation Report", `is_yanked` (pip 23.3 and newer), PEP 592.
    """
    faults = []
    for each in report["install"]:
        told = each["metadata"]
        name = f"{told['name']} {told['version']}"
        if "is_yanked" not in each:
            faults.append(f"{name}: this pip does not tell whether it was withdrawn")
        elif each["is_yanked"]:
            faults.append(f"{name}: its authors withdrew it")
    return faults or ([] if report["install"] else ["the report names no release"])


def sbom(found: Iterable[Release], name: str, version: str) -> dict[str, Any]:
    """The CycloneDX document for these releases."""
    components = [
        {
            "type": "library",
            "bom-ref": f"pkg:pypi/{each.name}@{each.version}",
            "name": each.name,
            "version": each.version,
            "purl": f"pkg:pypi/{each.name}@{each.version}",
            "hashes": [{"alg": "SHA-256", "content": digest} for digest in each.hashes],
            "properties": [{"name": "python:marker", "value": each.marker}] if each.marker else [],
        }
        for each in sorted(found)
    ]
    root = f"pkg:pypi/{name}@{version}"
    told = json.dumps([root, components])
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, told)}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": root,
                "name": name,
                "version": version,
                "purl": root,
            }
        },
        "components": components,
        "dependencies": [{"ref": root, "dependsOn": [each["bom-ref"] for each in components]}],
    }


def _installed() -> dict[str, str]:
    """Name, as the locks write it, and version of whatever this environment holds."""
    return {
        re.sub(r"[-_.]+", "-", each.name).lower(): each.version for each in metadata.distributions()
    }


def _version() -> str:
    text = (HERE.parent / "sidecar" / "__init__.py").read_text(encoding="utf-8")
    match = re.search(r'^__version__ = "([^"]+)"', text, re.MULTILINE)
    return match[1] if match else "0"


def main(words: list[str]) -> int:
    """The exit status of `check`, `yanked` or `sbom`."""
    locks = {name: (HERE / name).read_text(encoding="utf-8") for name in LOCKS}
    if words == ["check"]:
        faults = check(locks, _installed())
        counts = ", ".join(f"{lock} {len(releases(text)[0])}" for lock, text in locks.items())
        print("\n".join(faults) or f"every release is held by version and sha256: {counts}")
        return 1 if faults else 0
    if len(words) == 2 and words[0] == "yanked":  # noqa: PLR2004 - the verb and its file
        report = json.loads(Path(words[1]).read_text(encoding="utf-8"))
        faults = yanked(report)
        print("\n".join(faults) or f"none of {len(report['install'])} releases is withdrawn")
        return 1 if faults else 0
    if words == ["sbom"]:
        project = tomllib.loads((HERE.parent / "pyproject.toml").read_text(encoding="utf-8"))
        found, _ = releases(locks["serve.txt"])
        print(json.dumps(sbom(found, project["project"]["name"], _version()), indent=2))
        return 0
    print(__doc__)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
