"""One decision of the semantic tier in; its whole trace as JSON, small enough for a header, out.

The thresholds, and of each near entry its similarity, risk, facets, veto and why it was refused;
then what was decided and why. No question and no answer stands in it: headers land in logs.
"""

from __future__ import annotations

import json
from typing import Any, Final

from cache.entry import Found, Hit, Judged, Miss
from cache.guard import NAMES

MAX_BYTES: Final = 4_096
"""Chosen: servers before us commonly take 8 KiB of headers in all."""

MAX_NEAR: Final = 10
"""Chosen: entries told; more than twice as many as are looked at unless the operator wants more."""

_MAX_DETAIL: Final = 120


def trace(looked: Hit | Miss | None) -> str:
    """The trace of one look-up, ASCII; empty if nothing was sought by meaning.

    What does not fit is left out: first the facets, of the farthest entry before the nearer ones,
    then entries.
    """
    if looked is None or looked.found is None:
        return ""
    found = looked.found
    near = [_told(one) for one in found.judged[:MAX_NEAR]]
    left = len(near)
    while True:
        told = _dumped({**_decided(looked, found), "near": near})
        if len(told) <= MAX_BYTES or not near:
            return told
        if left:
            left -= 1
            del near[left]["facets"]
        else:
            near.pop()


def _decided(looked: Hit | Miss, found: Found) -> dict[str, Any]:
    limit = round(found.limit, 4) if found.limit is not None else None
    if isinstance(looked, Hit):
        return {"served": looked.entry.entry_id, "risk": round(looked.risk, 4), "limit": limit}
    detail = looked.detail[:_MAX_DETAIL]
    return {"served": None, "reason": looked.reason.value, "detail": detail, "limit": limit}


def _told(one: Judged) -> dict[str, Any]:
    facets = zip(NAMES, one.comparison.values, strict=True)
    return {
        "id": one.candidate.entry_id,
        "similarity": round(one.candidate.similarity, 4),
        "risk": round(one.candidate.risk, 4),
        "verdict": None if one.verdict is None else round(one.verdict, 2),
        "veto": one.comparison.veto[:_MAX_DETAIL],
        "refused": one.reason.value if one.reason is not None else "",
        "detail": one.detail[:_MAX_DETAIL],
        "facets": {name: round(value, 3) for name, value in facets if value},
    }


def _dumped(told: dict[str, Any]) -> str:
    """ASCII alone: a veto names words of a question, and a header holds no others."""
    return json.dumps(told, separators=(",", ":"))
