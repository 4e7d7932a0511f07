"""Logged choices and outcomes in, what another policy would have come to, with intervals, out.

The choice is the entry tier; what follows it (judgement, escalation) is taken as it was logged.
Three estimates of the mean outcome of a policy that would choose `a` with chance `pi(a|x)`, from
rows logged under chances `p(a|x)`:

    ips    mean of w r,                      w = pi(a|x) / p(a|x): unbiased, and wild
    snips  sum of w r / sum of w:            a little biased, far steadier
    dr     mean of q(x, pi) + w (r - q(x, a)): unbiased if either the chances or `q` are right

A row whose choice the other policy would never make tells nothing; the effective number says how
many rows' worth the weighted ones are, and an estimate from a handful of them is not to be
believed.

Source: Dudik, Langford and Li, "Doubly robust policy evaluation and learning" (2011); Swaminathan
and Joachims, "The self-normalized estimator for counterfactual learning" (2015).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from train.scoring.metrics import bootstrap

Numbers = NDArray[np.float64]
Places = NDArray[np.int64]

ROUNDS: Final = 1000

MAX_WEIGHT: Final = 50.0
"""Chosen: a third of what the default exploration of 2 % over three tiers makes of a rare draw;
beyond it a single row would outweigh hundreds."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Logged:
    """What was logged, by row.

    Attributes:
        chosen: (n,) place of the entry tier.
        propensity: (n,) chance with which it was chosen.
        outcome: (n,) what came of it: quality, or dollars.
        model: (n, tiers) what was to be expected of each entry tier, `q(x, a)`.
    """

    chosen: Places
    propensity: Numbers
    outcome: Numbers
    model: Numbers


def weights(logged: Logged, policy: Numbers) -> Numbers:
    """(n,) how much each row counts under `policy`, (n, tiers) chances, at most MAX_WEIGHT."""
    rows = np.arange(len(logged.chosen))
    return np.minimum(MAX_WEIGHT, policy[rows, logged.chosen] / logged.propensity)


def effective_rows(weight: Numbers) -> float:
    """Kish's effective number."""
    squares = float((weight**2).sum())
    return float(weight.sum() ** 2 / squares) if squares else 0.0


def ips(logged: Logged, policy: Numbers) -> Numbers:
    """(n,) whose mean is the estimate."""
    return weights(logged, policy) * logged.outcome


def doubly_robust(logged: Logged, policy: Numbers) -> Numbers:
    """(n,) whose mean is the estimate."""
    rows = np.arange(len(logged.chosen))
    expected: Numbers = (policy * logged.model).sum(axis=1)
    residual = logged.outcome - logged.model[rows, logged.chosen]
    return expected + weights(logged, policy) * residual


def self_normalised(logged: Logged, policy: Numbers, rows: Places | None = None) -> float:
    """The estimate over `rows`; NaN where no row counts."""
    chosen = slice(None) if rows is None else rows
    weight = weights(logged, policy)[chosen]
    total = float(weight.sum())
    return float((weight * logged.outcome[chosen]).sum()) / total if total else float("nan")


def estimates(logged: Logged, policy: Numbers, seed: int) -> dict[str, Any]:
    """All three, each with its 95 % interval by the bootstrap over rows.

    Where no row counts, `snips` has none.
    """
    plain, robust = ips(logged, policy), doubly_robust(logged, policy)
    count = len(plain)
    weight = weights(logged, policy)
    ways: dict[str, Callable[[Places], float]] = {
        "ips": lambda rows: float(plain[rows].mean()),
        "dr": lambda rows: float(robust[rows].mean()),
    }
    if weight.any():
        ways["snips"] = lambda rows: self_normalised(logged, policy, rows)
    told: dict[str, Any] = {
        name: {
            "value": figure(np.arange(count)),
            "interval": bootstrap(figure, count, ROUNDS, seed),
        }
        for name, figure in ways.items()
    }
    return told | {"rows": count, "effective_rows": effective_rows(weight)}


def lead(logged: Logged, ours: Numbers, theirs: Numbers, seed: int) -> dict[str, Any]:
    """How much more `ours` would have come to than `theirs`, doubly robust and paired by row."""
    more = doubly_robust(logged, ours) - doubly_robust(logged, theirs)
    return {
        "value": float(more.mean()),
        "interval": bootstrap(lambda rows: float(more[rows].mean()), len(more), ROUNDS, seed),
    }


def greedy(chosen: Places, tiers: int, explored: float = 0.0) -> Numbers:
    """(n, tiers) chances of a policy that takes `chosen`, but for a share drawn evenly."""
    policy = np.full((len(chosen), tiers), explored / tiers)
    policy[np.arange(len(chosen)), chosen] += 1.0 - explored
    return policy
