"""What holds for all tests: how long one example of a property takes is no property of it."""

from __future__ import annotations

from hypothesis import settings

# These machines are shared: an example that takes 5 ms alone takes 300 in company.
settings.register_profile("house", deadline=None)
settings.register_profile("long", deadline=None, max_examples=5_000)
settings.load_profile("house")
