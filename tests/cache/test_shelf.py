"""Shelf: so many values, and whoever holds the most gives way."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cache.shelf import Shelf

STEPS = st.lists(
    st.tuples(st.sampled_from(["put", "touch", "pop"]), st.integers(0, 9), st.sampled_from("abc"))
)


@given(STEPS)
def test_it_agrees_with_a_list_that_is_searched_from_end_to_end(
    steps: list[tuple[str, int, str]],
) -> None:
    """The least recently used of the tenant with the most leaves, and nothing else does."""
    shelf, naive = Shelf[int, str](4), list[tuple[int, str]]()
    for what, key, tenant in steps:
        held = dict(naive)
        if what == "put":
            naive = [*((k, t) for k, t in naive if k != key), (key, tenant)]
            gone = shelf.put(key, tenant, tenant)
            if len(naive) > 4:
                counts = [sum(t == one for _, t in naive) for one in "abc"]
                full = {one for one, n in zip("abc", counts, strict=True) if n == max(counts)}
                assert gone is not None
                assert gone[1] in full
                assert gone == next(pair for pair in naive if pair[1] == gone[1])
                naive.remove(gone)
            else:
                assert gone is None
        elif what == "pop":
            assert shelf.pop(key) == held.get(key)
            naive = [pair for pair in naive if pair[0] != key]
        elif key in held:
            shelf.touch(key)
            naive = [*(pair for pair in naive if pair[0] != key), (key, held[key])]
        assert dict(shelf) == dict(naive)
        assert len(shelf) == len(naive)


def test_a_tenant_that_fills_it_pushes_out_its_own() -> None:
    """What another one keeps stays, however old it is."""
    shelf = Shelf[int, str](10)
    shelf.put(-1, "kept", "quiet")
    for number in range(1_000):
        shelf.put(number, "spam", "loud")
    assert shelf.get(-1) == "kept"
    assert shelf.keys_of("loud") == list(range(991, 1_000))


def test_what_can_be_spared_goes_first() -> None:
    """Of the oldest few; if none can be spared, the oldest does."""
    shelf = Shelf[int, bool](3, can_spare=lambda value: value)
    for key, value in enumerate((False, True, False)):
        shelf.put(key, value, "t")
    assert shelf.put(3, True, "t") == (1, True)  # noqa: FBT003 - a value like any other
    assert shelf.put(4, False, "t") == (3, True)  # noqa: FBT003 - as above
    assert shelf.put(5, False, "t") == (0, False)  # noqa: FBT003 - as above
