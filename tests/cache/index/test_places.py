"""Places: each id is in one cell, or in none."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cache.index.places import Places

IDS = st.integers(0, 30)


@given(st.lists(st.one_of(st.sets(IDS, min_size=1), IDS), max_size=60))
def test_it_knows_what_a_dict_would(changes: list[set[int] | int]) -> None:
    """A set of ids is put in cells, a single one taken out; ids may come back, in any order."""
    places, known = Places(), dict[int, int]()
    for number, change in enumerate(changes):
        if isinstance(change, int):
            places.remove(change)
            known.pop(change, None)
        elif new := sorted(change - known.keys()):
            cells = [(number + each) % 7 for each in new]
            places.add(np.array(new), np.array(cells))
            known |= dict(zip(new, cells, strict=True))
        assert len(places) == len(known)
        assert all(places.find(each) == known.get(each) for each in range(31))
        assert places.oldest(3) == sorted(known)[:3]


def test_what_was_removed_takes_no_room_for_long() -> None:
    """The map of few ids is small, however many there were."""
    places = Places()
    places.add(np.arange(10_000), np.zeros(10_000, np.int64))
    for entry_id in range(9_990):
        places.remove(entry_id)
    places.add(np.arange(10_000, 10_100), np.zeros(100, np.int64))
    assert len(places._ids) < 1_000
    assert len(places) == 110
