"""LearntStore: what was learnt comes back as it was, or not at all."""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.entry import Candidate, MissReason
from cache.epochs import EVERYTHING, Selector
from cache.errors import StoreError
from cache.learnt import Learnt, Proof
from cache.rejections import Pair, Question
from cache.standing import Owner, State
from cache.stores.learnt import LearntStore
from cache.trust import Refusal, Trust

HERE, THERE = b"p" * 20, b"q" * 20
MINE, YOURS = Owner("mine", "n"), Owner("yours")
NEAR, RISKY = Candidate(1, 0.95, 0.03), Candidate(1, 0.9, 0.06)


def question(seed: int) -> Question:
    drawn = np.random.default_rng(seed).normal(size=8).astype(np.float32)
    return Question(f"what is {seed}", drawn / np.linalg.norm(drawn))


ASKED, KEPT = question(1), question(2)


def fresh(bound: float = 0.02) -> Trust:
    return Trust(bound=bound, risk_limit=0.05)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache.sqlite-learnt"


def write(path: Path, trust: Trust, encoder_id: str = "e") -> None:
    """One more process that learnt, and was killed: nothing is closed in good order."""
    store, learnt = LearntStore.open(path, encoder_id), trust.changes()
    assert learnt is not None
    store.write(learnt)
    store.close()


def read(path: Path, bound: float = 0.02, next_id: int = 100, encoder_id: str = "e") -> Trust:
    store, trust = LearntStore.open(path, encoder_id), fresh(bound)
    learnt = store.load()
    if learnt is not None:
        trust.restore(learnt, next_id)
    if (changes := trust.changes()) is not None:
        store.write(changes)
    store.close()
    return trust


def poisoned() -> Trust:
    """One partition off, one tight, a pair rejected, an entry proven, a near miss promoted."""
    trust = fresh()
    for _ in range(4):
        trust.checked(HERE, 9, is_right=False, owner=MINE)
    for _ in range(2):
        trust.served(THERE, 0.01, YOURS)
        trust.checked(THERE, 9, is_right=False, owner=YOURS)
    trust.reject(HERE, ASKED, KEPT, "mine")
    trust.stood(2, "mine")
    trust.promote(1, "q", "mine")
    return trust


def test_what_was_learnt_comes_back(path: Path) -> None:
    """Standing, alarm, rejected pair, proof, promotion and the live estimate."""
    before = poisoned()
    write(path, before)
    after = read(path)
    assert after.report() == before.report()
    assert (after.state(HERE), after.state(THERE)) == (State.OFF, State.TIGHT)
    assert after.is_promoted(RISKY, "q")
    assert not after.is_promoted(RISKY, "other")
    assert after.refusal(b"x" * 20, NEAR, ASKED, KEPT) is None
    rejected = after.refusal(THERE, Candidate(2, 0.9, 0.01), ASKED, KEPT)
    assert rejected is None
    assert after.states == before.states


def test_a_rejected_pair_is_still_vetoed(path: Path) -> None:
    """Its vectors are kept whole, so that the very pair is as near to itself as it was."""
    trust = fresh()
    trust.reject(HERE, ASKED, KEPT, "mine")
    write(path, trust)
    refusal = read(path).refusal(HERE, NEAR, ASKED, KEPT)
    assert refusal == Refusal(MissReason.VETO, "rejected before")


def test_an_alarm_goes_on_from_where_it_stood(path: Path) -> None:
    """Three wrong hits before the restart and one after it ring as four do."""
    trust = fresh()
    for _ in range(3):
        trust.checked(HERE, 9, is_right=False)
    write(path, trust)
    after = read(path)
    after.checked(HERE, 9, is_right=False)
    assert after.state(HERE) is State.OFF


def test_under_another_bound_an_alarm_begins_anew(path: Path) -> None:
    """Its levels were ratios to the old one; what was off stays off and is on probation."""
    write(path, poisoned())
    after = read(path, bound=0.05)
    assert after.state(HERE) is State.OFF
    [tight] = [one for one in after.report().watched if one.owner == YOURS]
    assert tight.wrong == 2


def test_an_id_that_may_be_used_again_says_nothing(path: Path) -> None:
    """The kept answers were lost: the same number will be another entry's."""
    write(path, poisoned())
    assert not read(path, next_id=1).is_promoted(RISKY, "q")
    assert not read(path, next_id=100).is_promoted(RISKY, "q")  # and it was deleted for good


def test_another_encoder_begins_anew(path: Path) -> None:
    """Its partitions have other keys, and its vectors cannot be compared."""
    write(path, poisoned())
    assert sum(read(path, encoder_id="other").states.values()) == 0
    assert sum(read(path).states.values()) == 0


def test_a_torn_row_costs_that_row(path: Path) -> None:
    """It is deleted and counted; the rest comes back."""
    write(path, poisoned())
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE learnt SET value = x'00' WHERE kind = 'pair'")
    connection.close()
    store = LearntStore.open(path, "e")
    learnt = store.load()
    assert learnt is not None
    assert (store.dropped, len(learnt.pairs), len(learnt.partitions)) == (1, 0, 2)
    store.close()


def test_a_sound_row_that_says_nonsense_is_dropped(path: Path) -> None:
    """A checksum is no proof of sense, and nonsense must not bar the start."""
    store = LearntStore.open(path, "e")
    changes = poisoned().changes()
    assert changes is not None
    store.write(changes)
    store._connection.execute("DELETE FROM learnt WHERE kind = 'partition'")
    from cache.stores.learnt import _checksum  # noqa: PLC0415 - the test forges a row

    forged = ("partition", HERE, b"\x91\x01", _checksum("partition", HERE, b"\x91\x01"))
    store._connection.execute("INSERT INTO learnt VALUES (?, ?, ?, ?)", forged)
    learnt = store.load()
    assert learnt is not None
    assert (store.dropped, len(learnt.partitions)) == (1, 0)
    store.close()


@pytest.mark.parametrize("foreign", [b"no database at all" * 100, b""], ids=["text", "empty"])
def test_a_foreign_file_is_put_aside(path: Path, foreign: bytes) -> None:
    """Whoever it belongs to finds it beside the new one."""
    path.write_bytes(foreign)
    store = LearntStore.open(path, "e")
    assert store.load() is None
    assert (store.renamed_to is not None) == bool(foreign)
    store.close()


def test_a_folder_that_is_a_file_is_told(tmp_path: Path) -> None:
    """The sidecar then learns in memory alone."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError):
        LearntStore.open(tmp_path / "file" / "learnt", "e")


def test_nobody_else_may_read_it(path: Path) -> None:
    """It holds questions."""
    LearntStore.open(path, "e").close()
    assert path.stat().st_mode & 0o077 == 0


def test_an_invalidation_of_a_tenant_takes_its_past(path: Path) -> None:
    """On disk too; another tenant's stays."""
    trust = poisoned()
    write(path, trust)
    trust.forget_named(Selector("tenant", "mine"), [])
    write(path, trust)
    after = read(path)
    assert (after.state(HERE), after.state(THERE)) == (State.OPEN, State.TIGHT)
    assert len(after._rejections) == len(after._entries) == 0 or after.report().rejections == 0
    trust.forget_named(EVERYTHING, [])
    write(path, trust)
    assert sum(read(path).states.values()) == 0


def test_an_invalidation_by_tag_takes_its_entries_alone(path: Path) -> None:
    """What was learnt of the partition's hits still holds."""
    trust = poisoned()
    trust.forget_named(Selector("tag", "a"), [1])
    write(path, trust)
    after = read(path)
    assert not after.is_promoted(RISKY, "q")
    assert after.state(HERE) is State.OFF
    assert after.report().rejections == 1


TEXTS = st.text(max_size=20)
COUNTS = st.integers(0, 2**31)


@settings(max_examples=40, deadline=None)  # each writes a file
@given(
    st.dictionaries(
        st.integers(0, 2**40), st.tuples(TEXTS, COUNTS, st.sets(st.binary(max_size=16)))
    ),
    st.dictionaries(
        st.tuples(st.binary(min_size=20, max_size=20), COUNTS), st.tuples(TEXTS, TEXTS)
    ),
)
def test_reading_gives_what_was_written(
    tmp_path_factory: pytest.TempPathFactory,
    entries: dict[int, tuple[str, int, set[bytes]]],
    pairs: dict[tuple[bytes, int], tuple[str, str]],
) -> None:
    """Whatever texts and numbers it is."""
    vectors = np.stack([ASKED.vector, KEPT.vector])
    learnt = Learnt(
        bound=0.02,
        right=3,
        wrong=1,
        partitions={},
        entries={
            key: Proof(tenant, right, OrderedDict.fromkeys(sorted(questions)))
            for key, (tenant, right, questions) in entries.items()
        },
        pairs={key: Pair("t", *texts, vectors) for key, texts in pairs.items()},
    )
    path = tmp_path_factory.mktemp("learnt") / "file"
    store = LearntStore.open(path, "e")
    store.write(learnt)
    back = store.load()
    store.close()
    assert back is not None
    assert (back.right, back.wrong, back.bound) == (3, 1, 0.02)
    assert {k: (p.tenant, p.right, p.questions) for k, p in back.entries.items() if p} == {
        k: (p.tenant, p.right, p.questions) for k, p in learnt.entries.items() if p
    }
    assert {k: (p.asked, p.kept) for k, p in back.pairs.items() if p} == pairs
    assert all((p.vectors == vectors).all() for p in back.pairs.values() if p)
