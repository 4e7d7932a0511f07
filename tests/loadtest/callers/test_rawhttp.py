"""The plain client: what goes out is a request, and only good answers make a rate."""

from __future__ import annotations

import pytest
from aiohttp.test_utils import TestServer

from loadtest.callers.rawhttp import Connection, rate, request
from loadtest.vendors.provider import ProviderConfig, SimulatedVendor, answer_to


def _asked(url: str, question: str) -> bytes:
    body = {"model": "m", "messages": [{"role": "user", "content": question}]}
    return request(f"{url}/chat/completions", body, {"x-extra": "1"})


async def test_one_connection_serves_many_exchanges() -> None:
    """Each answer belongs to its request."""
    async with TestServer(SimulatedVendor(ProviderConfig()).app()) as server:
        url = str(server.make_url("/v1"))
        connection = await Connection.to(url)
        for question in ("one", "two"):
            reply = (await connection.exchange(_asked(url, question))).reply()
            assert (reply.status, reply.text) == (200, answer_to(question))
        await connection.close()


async def test_a_rate_of_refusals_is_none() -> None:
    """What answers quickly because it refuses must not look fast."""
    async with TestServer(SimulatedVendor(ProviderConfig()).app()) as server:
        url = str(server.make_url("/v1"))
        assert await rate(url, [_asked(url, "Why?")] * 4, at_once=2) > 0
        with pytest.raises(ExceptionGroup) as told:
            await rate(url, [_asked(url, "Why? [fault:status=500]")], at_once=1)
    assert told.group_contains(ConnectionError)


async def test_an_answer_without_a_length_is_refused() -> None:
    """A stream cannot be timed by this client, and says so."""
    async with TestServer(SimulatedVendor(ProviderConfig()).app()) as server:
        url = str(server.make_url("/v1"))
        body = {"messages": [{"role": "user", "content": "?"}], "stream": True}
        connection = await Connection.to(url)
        with pytest.raises(ConnectionError, match="content-length"):
            await connection.exchange(request(f"{url}/chat/completions", body, {}))
        await connection.close()
