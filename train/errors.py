"""What can go wrong while training; the command line says it in one line and exits with 2.

TrainError
├── DataError                rows that cannot be read, or too few of them
├── AskingError              a tier could not be asked, or the config names none
└── TrackingError            a run could not be told to MLflow; what was made is there all the same
"""

from __future__ import annotations


class TrainError(Exception):
    """Base of all faults of training."""


class DataError(TrainError):
    """Rows cannot be read, or there are too few of them."""


class AskingError(TrainError):
    """A tier could not be asked, or the config names none."""


class TrackingError(TrainError):
    """A run could not be told to MLflow; what was made is there all the same."""
