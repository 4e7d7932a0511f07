"""Where a sidecar answers, and what its callers are known by there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import aiohttp

CACHED: Final = {"cache-control": "only-if-cached"}


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Place:
    """Where the sidecar answers.

    Attributes:
        http: To ask it with.
        base_url: Ends in `/v1`.
        admin_url: Of its operator plane; empty if only the load is to be tried.
    """

    http: aiohttp.ClientSession
    base_url: str
    admin_url: str = ""

    async def posted(
        self, url: str, body: Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> dict[str, Any] | None:
        """What is said to `body` there; None if it is not accepted."""
        try:
            async with self.http.post(url, json=body, headers=headers) as response:
                told: dict[str, Any] = await response.json()
                return told if response.status == 200 else None  # noqa: PLR2004 - HTTP's own number
        except (aiohttp.ClientError, TimeoutError, ConnectionError, ValueError):
            return None


def key_of(tenant: str) -> str:
    """The API key that the sidecar's configuration gives `tenant`."""
    return f"key-of-{tenant}"


def key(tenant: str) -> dict[str, str]:
    """The header that says it."""
    return {"authorization": f"Bearer {key_of(tenant)}"}
