"""The operator's token: who has it, and who needs none."""

from __future__ import annotations

import pytest
from aiohttp.test_utils import make_mocked_request

from sidecar.errors import UnknownCaller
from sidecar.web.token import OperatorToken

HERE = {"Host": "127.0.0.1:8081"}


@pytest.mark.parametrize(
    ("token", "headers"),
    [
        pytest.param("s3cret", HERE | {"Authorization": "Bearer s3cret"}, id="token"),
        pytest.param("", HERE, id="loopback"),
        pytest.param("", {"Host": "localhost:8081"}, id="localhost"),
        pytest.param("", {"Host": "[::1]:8081"}, id="ipv6"),
    ],
)
def test_the_operator_is_let_in(token: str, headers: dict[str, str]) -> None:
    """By the token, or by being on this machine where none is set."""
    OperatorToken(token).check(make_mocked_request("GET", "/admin/cache", headers=headers))


@pytest.mark.parametrize(
    ("token", "headers"),
    [
        pytest.param("s3cret", HERE, id="no-token"),
        pytest.param("s3cret", HERE | {"Authorization": "Bearer no"}, id="wrong-token"),
        pytest.param("", HERE | {"Origin": "https://example.org"}, id="another-site's-page"),
        pytest.param("", {"Host": "rebound.example.org:8081"}, id="a-name-that-was-rebound"),
    ],
)
def test_others_are_not(token: str, headers: dict[str, str]) -> None:
    """Nor is a page that this machine's browser shows."""
    with pytest.raises(UnknownCaller):
        OperatorToken(token).check(make_mocked_request("GET", "/admin/cache", headers=headers))
