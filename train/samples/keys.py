"""The name of a variable in, the cipher that opens a sealed traffic log out."""

from __future__ import annotations

import argparse
import os

from sidecar.disk.sealing import AesGcm, cipher_of
from train.errors import DataError


def add_key(parser: argparse.ArgumentParser) -> None:
    """The argument that names the key; the key itself would stand in the list of processes."""
    parser.add_argument(
        "--traffic-key",
        default="",
        metavar="env:NAME",
        help="the key of a sealed log, as `[traffic] key` has it",
    )


def find_cipher(told: str) -> AesGcm | None:
    """The cipher for `env:NAME`; None if nothing was told.

    Raises:
        DataError: The environment has no such variable, or it holds no key.
    """
    if not told:
        return None
    name = told.removeprefix("env:")
    if name == told or not os.environ.get(name):
        raise DataError("--traffic-key must be env:NAME, of a variable that is set")
    try:
        return cipher_of(os.environ[name])
    except ValueError as fault:
        raise DataError(f"--traffic-key: {fault}") from fault
