"""Close reading, held against real answers whose results are known."""

from __future__ import annotations

import gzip
from pathlib import Path

import orjson
import pytest

from sidecar.oversight.sameness import Sameness, compare

ANSWERS = Path(__file__).parents[4] / "shared" / "data" / "router" / "tier3_calib.jsonl.gz"


@pytest.mark.data
def test_what_reads_the_same_has_the_same_result() -> None:
    """Of 2,903 pairs of answers, hardly any read the same where one is right and one is wrong."""
    if not ANSWERS.exists():
        pytest.skip("the measuring data is not beside the checkout")
    told = {True: 0, False: 0}
    with gzip.open(ANSWERS, "rb") as lines:
        for line in lines:
            medium, large = (orjson.loads(line)["answers"][tier] for tier in ("medium", "large"))
            if compare(medium["text"], large["text"]) is Sameness.SAME:
                told[medium["correct"] == large["correct"]] += 1
    assert told[True] > 500
    assert told[False] <= 0.01 * told[True]
