"""An answer that came back in, whether it failed outright and whether it can be judged out."""

from __future__ import annotations

from router.decision import AnswerView

_CUT = frozenset({"length", "content_filter"})


def hard_failure(view: AnswerView) -> str:
    """Why no caller can use this answer, whatever it says: one word; empty if one can."""
    if view.is_malformed:
        return "malformed"
    if view.finish_reason in _CUT:
        return "truncated"
    if not view.has_tool_calls and not view.text.strip():
        return "empty"
    return ""


def is_judgeable(view: AnswerView) -> bool:
    """Whether the heads, which were fitted on text, have anything to say of it."""
    return bool(view.text.strip()) and not view.has_tool_calls
