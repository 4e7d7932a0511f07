"""The config in, the second look out: the risk models, and the verifier if it can be had.

The verifier that comes along is a help: where it cannot run (another encoder's tokenizer, weights
left out of an image) the cheap stage decides alone, by its own stricter limit, and the log says so.
One that the operator names must run, or the sidecar does not start.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from cache.errors import CacheError, RiskModelError
from cache.look import SecondLook
from cache.risk import RiskModel
from sidecar.config.sections import Config
from sidecar.encoder.bundle import TOKENIZER
from sidecar.encoder.verifier import FOLDER, RISK, WEIGHTS, OnnxVerifier
from sidecar.errors import ConfigError, EncoderError

_ALONE: Final = "no verifier: the cheap look decides alone: %s"


class Second(NamedTuple):
    """What weighs candidates.

    Attributes:
        look: It.
        open: To be done once by its owner thread, before it is asked of anything in doubt.
    """

    look: SecondLook
    open: Callable[[], None]


def second_look(config: Config, logger: logging.Logger) -> Second:
    """What weighs candidates.

    Raises:
        ConfigError: The risk model, or a verifier that was named, cannot be used.
    """
    bound, named = config.semantic.max_false_hit_rate, config.semantic.verifier
    try:
        cheap = RiskModel.load()
    except CacheError as fault:
        raise ConfigError([f"cache: {fault}"]) from fault
    if named == "off":
        return Second(SecondLook(cheap, bound), lambda: None)
    folder, tokenizer = (
        FOLDER if named == "auto" else Path(named),
        config.encoder.folder / TOKENIZER,
    )
    try:
        verifier = OnnxVerifier(folder / WEIGHTS, tokenizer, is_late=named == "auto")
        look = SecondLook(cheap, bound, RiskModel.load(folder / RISK), verifier)
    except (EncoderError, RiskModelError) as fault:
        if named != "auto":
            raise ConfigError([f"cache.semantic.verifier: {fault}"]) from fault
        logger.warning(_ALONE, fault)
        return Second(SecondLook(cheap, bound), lambda: None)
    return Second(look, partial(_open, look, verifier, logger))


def _open(look: SecondLook, verifier: OnnxVerifier, logger: logging.Logger) -> None:
    try:
        verifier.open()
    except EncoderError as fault:
        look.go_on_alone()
        logger.warning(_ALONE, fault)
