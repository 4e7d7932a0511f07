"""What holds for all tests: no clock that a slow machine beats, no app that outlives its test."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
from aiohttp import web_app
from hypothesis import settings

from tests.patience import PatientLoop

# These machines are shared: an example that takes 5 ms alone takes 300 in company.
settings.register_profile("house", deadline=None)
settings.register_profile("long", deadline=None, max_examples=5_000)
settings.load_profile("house")


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], PatientLoop]]:
    """One loop for all of them."""
    return {"patient": PatientLoop}


def pytest_runtest_teardown() -> None:
    """Of the handlers it wrapped aiohttp keeps 1,024, and each would hold an encoder of 60 MB."""
    web_app._cached_build_middleware.cache_clear()
