"""The pictures at the head of each errors.py are the code."""

from __future__ import annotations

from types import ModuleType

import pytest

from cache import errors as cache_errors
from router import errors as router_errors
from sidecar import errors
from sidecar.providers import errors as provider_errors


def tree(cls: type[Exception]) -> list[type[Exception]]:
    """`cls` and every class below it."""
    return [cls, *(deep for sub in cls.__subclasses__() for deep in tree(sub))]


@pytest.mark.parametrize(
    ("module", "base"),
    [
        pytest.param(errors, errors.SidecarError, id="sidecar"),
        pytest.param(provider_errors, errors.ProviderError, id="providers"),
        pytest.param(cache_errors, cache_errors.CacheError, id="cache"),
        pytest.param(router_errors, router_errors.RouterError, id="router"),
    ],
)
def test_every_error_stands_in_its_picture(module: ModuleType, base: type[Exception]) -> None:
    """A fault that is added without a place in the tree fails here."""
    own = [cls for cls in tree(base) if cls.__module__ == module.__name__]
    assert own
    assert [cls.__name__ for cls in own if cls.__name__ not in (module.__doc__ or "")] == []


def test_leaves_say_the_status_that_the_picture_says() -> None:
    """`400 invalid_request_error` beside a name is what the class holds."""
    lines = {
        line.strip("│├└─ ").split()[0]: line
        for line in (errors.__doc__ or "").splitlines()
        if "─" in line
    }
    told = [cls for cls in tree(errors.SidecarError) if "0" in lines.get(cls.__name__, "")]
    assert told
    for cls in told:
        assert issubclass(cls, errors.SidecarError)
        assert f"{cls.status} {cls.kind}" in lines[cls.__name__]
