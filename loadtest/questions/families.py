"""All kinds of questions of the demo stream; an oracle of its own.

It shares no code with whatever answers the questions: a test holds that both say the same.
"""

from __future__ import annotations

from typing import Final

from loadtest.questions import families_numbers, families_world

FAMILIES: Final = (*families_numbers.FAMILIES, *families_world.FAMILIES)
