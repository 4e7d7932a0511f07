"""Bytes in, the same after a restart out: a small file that follows what memory holds.

Rule 1: it is replaced whole, by a rename: a reader finds the old one or the new one.
Rule 2: one that cannot be read is put aside, never overwritten, and that is an error in the log.
Rule 3: a fault of the disk is told, not raised: memory is the truth.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StateFile:
    """One thread at a time.

    Attributes:
        path: Of the file; its folder is made with the first bytes.
        max_bytes: What is longer is not read.
        holds: What it is to people, as in "the review queue".
        logger: Hears of faults.
    """

    path: Path
    max_bytes: int
    holds: str
    logger: logging.Logger

    def read(self, parse: Callable[[bytes], T]) -> T | None:
        """What `parse` makes of it; None if there is none, or none that it understands.

        `parse` may raise ValueError, TypeError or AttributeError of a stranger's file.
        """
        try:
            return parse(self._bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, AttributeError) as fault:
            self.logger.error("%s could not be read: %s", self.holds, fault)  # noqa: TRY400 - the fault says it all
            self._put_aside()
            return None

    def write(self, packed: bytes) -> bool:
        """Whether the disk has it; its owner alone may read it."""
        draft = self.path.with_suffix(".draft")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(packed)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self.path)
        except OSError as fault:
            self.logger.error("%s could not be written: %s", self.holds, fault)  # noqa: TRY400 - as above
            return False
        return True

    def _bytes(self) -> bytes:
        if self.path.stat().st_size > self.max_bytes:
            raise ValueError("it is too large")
        return self.path.read_bytes()

    def _put_aside(self) -> None:
        try:
            self.path.replace(self.path.with_suffix(".foreign"))
        except OSError as fault:
            self.logger.error("nor put aside: %s", fault)  # noqa: TRY400 - as above
