"""What can go wrong while training; the command line says it in one line and exits with 2.

TrainError
├── DataError                rows that cannot be read, or too few of them
└── NotBuiltVerb             a verb of the contract that this version does not have
"""

from __future__ import annotations


class TrainError(Exception):
    """Base of all faults of training."""


class DataError(TrainError):
    """Rows cannot be read, or there are too few of them."""


class NotBuiltVerb(TrainError):
    """A verb of the contract that this version does not have; says so rather than pretend."""
