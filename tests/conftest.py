"""What holds for all tests: no clock that a slow machine beats, no app that outlives its test."""

from __future__ import annotations

import gc
import os
import sys
import warnings
from collections.abc import Callable, Generator, Mapping

import pytest
from aiohttp import web_app
from hypothesis import settings

from tests.patience import PatientLoop

# Threads of OpenMP wait for each other by spinning. Measured: `pytest` of integration/test_loop.py
# on two cores with ten others at work: 56 s with one thread; with two it was not over in 140.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# These machines are shared: an example that takes 5 ms alone takes 300 in company.
settings.register_profile("house", deadline=None)
settings.register_profile("long", deadline=None, max_examples=5_000)
settings.load_profile("house")


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], PatientLoop]]:
    """One loop for all of them."""
    return {"patient": PatientLoop}


_KEPT = ("last_exc", "last_type", "last_value", "last_traceback")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Generator[None, object, object]:
    """Leave nothing of the test behind once its fixtures have ended."""
    try:
        return (yield)
    finally:
        # Of the handlers that it wrapped aiohttp keeps 1,024, each with an encoder of 60 MB.
        web_app._cached_build_middleware.cache_clear()
        _let_go_of_what_failed()


def _let_go_of_what_failed() -> None:
    """What a test that failed did not come to close is closed here, and no other one is blamed.

    Its frames hold it, and the interpreter keeps them for a debugger until the next one fails.
    """
    kept = [vars(sys).pop(name, None) for name in _KEPT]
    if any(kept):
        kept.clear()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()
