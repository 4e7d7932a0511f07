"""Departures: what left, or may have, is refused."""

from __future__ import annotations

from cache.stores.disk import Gone
from sidecar.caching.departures import MAX_DEPARTED, MAX_DEPARTING, Departures


def test_what_is_leaving_or_has_left_is_refused() -> None:
    """From the moment that it is told to leave, and still once it has left."""
    departures = Departures()
    ticket = departures.ticket
    assert not departures.refuses(1, ticket)
    departures.begin(Gone(1, b"p"))
    assert departures.refuses(1, ticket)
    assert departures.end([1, 2]) == [Gone(1, b"p")]
    departures.note([Gone(1, b"p")])
    assert departures.refuses(1, ticket)
    assert not departures.refuses(2, ticket)


def test_what_is_written_again_may_come_up_again() -> None:
    """The disk had let go of what memory still held."""
    departures = Departures()
    departures.note([Gone(1, None)])
    departures.welcome(1)
    assert not departures.refuses(1, departures.ticket)


def test_a_read_during_which_too_many_left_is_refused_whatever_it_read() -> None:
    """The one who left may be forgotten; a ticket drawn afterwards is as good as ever."""
    departures = Departures()
    ticket = departures.ticket
    departures.note([Gone(number, None) for number in range(MAX_DEPARTED)])
    assert not departures.refuses(10**6, ticket)
    departures.note([Gone(MAX_DEPARTED, None)])
    assert departures.refuses(10**6, ticket)
    assert not departures.refuses(10**6, departures.ticket)


def test_a_disk_that_lets_go_of_nothing_is_trusted_no_more() -> None:
    """Nothing that it holds comes up, whether it was told to leave or not."""
    departures = Departures()
    for number in range(MAX_DEPARTING):
        departures.begin(Gone(number, None))
    assert not departures.give_up()
    departures.begin(Gone(MAX_DEPARTING, None))
    assert departures.give_up()
    assert not departures.is_trusted
    assert departures.refuses(10**6, departures.ticket)
