r"""Templates: what is put together again is what was taken apart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.errors import MalformedRequest
from sidecar.fragments.template import MAX_CHARACTERS, MAX_PLACES, Place, parse_template

WORDS = st.text(st.characters(exclude_characters="{}\\", exclude_categories=["Cs"]))
PLACES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_-]{0,8}", fullmatch=True).map(Place)


@given(st.lists(WORDS | PLACES | st.just("{{")))
def test_words_and_places_come_back_in_order(pieces: list[str | Place]) -> None:
    """However they stand; braces that are escaped are words."""
    told = [
        f"{{{{{p.name}}}}}" if isinstance(p, Place) else p.replace("{{", "\\{{") for p in pieces
    ]
    parsed = parse_template("".join(told))
    assert [p for p in parsed if isinstance(p, Place)] == [
        p for p in pieces if p in parsed and isinstance(p, Place)
    ]
    said = "".join(p if isinstance(p, str) else f"<{p.name}>" for p in parsed)
    assert said == "".join(p if isinstance(p, str) else f"<{p.name}>" for p in pieces)
    assert "" not in parsed


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        pytest.param("", (), id="empty"),
        pytest.param("a", ("a",), id="words"),
        pytest.param("{{ b }}", (Place("b"),), id="blanks"),
        pytest.param("{{b}}{{b}}", (Place("b"), Place("b")), id="twice"),
        pytest.param("{b} }} {", ("{b} }} {",), id="single-braces"),
        pytest.param("a \\{{b}} c", ("a {{b}} c",), id="escaped"),
        pytest.param("{{{b}}", None, id="three-braces"),
        pytest.param("{{}}", None, id="no-name"),
        pytest.param("{{1}}", None, id="digit"),
        pytest.param("{{a b}}", None, id="two-words"),
        pytest.param("{{a", None, id="open"),
        pytest.param("{{a.b}}", None, id="path"),
        pytest.param("{{" + "a" * 65 + "}}", None, id="long-name"),
        pytest.param("a" * (MAX_CHARACTERS + 1), None, id="too-long"),
        pytest.param("{{a}}" * (MAX_PLACES + 1), None, id="too-many"),
    ],
)
def test_a_template_is_read_or_refused(text: str, pieces: tuple[str | Place, ...] | None) -> None:
    """Braces that begin no place are a mistake, and never words by accident."""
    if pieces is None:
        with pytest.raises(MalformedRequest, match=r"^template: "):
            parse_template(text)
    else:
        assert parse_template(text) == pieces
