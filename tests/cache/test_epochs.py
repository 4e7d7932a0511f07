"""Epochs: whatever was asked for before it was invalidated is void, and nothing else is."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from cache.entry import UNKNOWN_PROMPT, Entry
from cache.epochs import EVERYTHING, KINDS, MAX_MARKS, Epochs, Mark, Selector, selectors_of

WORDS = st.sampled_from(["", "a", "b"])


def entry(
    tenant: str, namespace: str, model: str, tags: tuple[str, ...], epoch: int = 0, prompt: str = ""
) -> Entry:
    return Entry(
        entry_id=1,
        fingerprint=f"{tenant} {namespace} {model}".encode().ljust(20),
        partition=None,
        question="",
        vector=None,
        body=b"{}",
        tier="small",
        model=model,
        tokens_in=1,
        tokens_out=1,
        cost_usd=Decimal(0),
        created_at=0.0,
        expires_at=1.0,
        tags=tags,
        tenant=tenant,
        namespace=namespace,
        epoch=epoch,
        prompt=prompt,
    )


PROMPTS = st.sampled_from(["", "sha-a", "sha-b"])
ENTRIES = st.builds(
    entry,
    WORDS,
    WORDS,
    st.sampled_from(["m", "n"]),
    st.lists(WORDS, max_size=2).map(tuple),
    prompt=PROMPTS | st.just(UNKNOWN_PROMPT),
)
SELECTORS = st.one_of(
    st.just(EVERYTHING),
    st.builds(Selector, st.just("tenant"), WORDS),
    st.builds(Selector, st.sampled_from(["tag", "namespace", "model"]), WORDS, WORDS),
    st.builds(Selector, st.just("model"), st.sampled_from(["m", "n", "small"]), WORDS),
    st.builds(Selector, st.just("prompt"), PROMPTS, WORDS),
    ENTRIES.map(lambda one: Selector("entry", one.fingerprint.hex())),
)


@given(SELECTORS, ENTRIES)
def test_a_selector_covers_what_it_names(selector: Selector, one: Entry) -> None:
    """Looked at from the selector and from the entry it is the same."""
    if selector.by != "prompt" or one.prompt != UNKNOWN_PROMPT:
        assert selector.covers(one) == (selector in set(selectors_of(one)))
    elif selector.tenant in {"", one.tenant}:
        assert selector.covers(one)  # its prompt may have been that one
    assert {each.by for each in selectors_of(one)} <= set(KINDS)


class Invalidations(RuleBasedStateMachine):
    """The naive model keeps every entry ever asked for, and strikes out what was named since."""

    def __init__(self) -> None:
        super().__init__()
        self.epochs = Epochs()
        self.asked: list[tuple[Entry, int, list[bool]]] = []
        self.kept: dict[Selector, Mark] = {}

    @rule(one=ENTRIES)
    def ask(self, one: Entry) -> None:
        """An entry carries the epoch that stands, and its keys the tenant's."""
        made = entry(one.tenant, one.namespace, one.model, one.tags, self.epochs.now, one.prompt)
        self.asked.append((made, self.epochs.of_tenant(made.tenant), [False]))

    @rule(selector=SELECTORS)
    def invalidate(self, selector: Selector) -> None:
        """Whatever it names is struck out; what is asked later is not."""
        mark = self.epochs.raise_for(selector, now_at=1.0)
        if mark.selector == EVERYTHING:
            self.kept.clear()
        self.kept[mark.selector] = mark
        for one, _, struck in self.asked:
            struck[0] = struck[0] or selector.covers(one)

    @rule()
    def restart(self) -> None:
        """Another process goes on from the marks and the entries that were kept."""
        newest = max((one.epoch for one, _, _ in self.asked), default=0)
        self.epochs = Epochs()
        self.epochs.restore(self.kept.values(), newest)

    @invariant()
    def agrees(self) -> None:
        """Void is what was struck out; a tenant's keys change with each mark on it."""
        for one, in_key, struck in self.asked:
            assert self.epochs.voids(one) == struck[0]
            is_key_old = in_key != self.epochs.of_tenant(one.tenant)
            assert not is_key_old or struck[0]


TestInvalidations = Invalidations.TestCase


def test_too_many_marks_become_one_on_everything() -> None:
    """Bounded memory forgets too much and never too little."""
    epochs = Epochs()
    old = entry("a", "", "m", ())
    for number in range(MAX_MARKS):
        epochs.raise_for(Selector("tag", str(number)), 1.0)
    assert not epochs.voids(old)
    assert epochs.raise_for(Selector("tag", "one more"), 1.0).selector == EVERYTHING
    assert epochs.voids(old)
    assert len(epochs) == 1
