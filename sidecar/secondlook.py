"""The config in, the second look out: the risk models, and the verifier if it can be had.

The verifier that comes along is a help: where it cannot run (another encoder's tokenizer, weights
left out of an image) the cheap stage decides alone, by its own stricter limit, and the log says so.
One that the operator names must run, or the sidecar does not start.
"""

from __future__ import annotations

import logging
from pathlib import Path

from cache.errors import CacheError, RiskModelError
from cache.look import SecondLook
from cache.risk import RiskModel
from sidecar.config import Config
from sidecar.encoder.bundle import TOKENIZER
from sidecar.encoder.verifier import FOLDER, RISK, WEIGHTS, OnnxVerifier
from sidecar.errors import ConfigError, EncoderError


def second_look(config: Config, logger: logging.Logger) -> SecondLook:
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
        return SecondLook(cheap, bound)
    try:
        return _verified(cheap, bound, FOLDER if named == "auto" else Path(named), config)
    except (EncoderError, RiskModelError) as fault:
        if named != "auto":
            raise ConfigError([f"cache.semantic.verifier: {fault}"]) from fault
        logger.warning("no verifier: the cheap look decides alone: %s", fault)
        return SecondLook(cheap, bound)


def _verified(cheap: RiskModel, bound: float, folder: Path, config: Config) -> SecondLook:
    verifier = OnnxVerifier(folder / WEIGHTS, config.encoder.folder / TOKENIZER)
    return SecondLook(cheap, bound, RiskModel.load(folder / RISK), verifier)
