"""What a verb came to in; one run in an MLflow store out, where somebody asks for that.

MLflow is an extra (`tracking`, its light half: it speaks to a server; for a database of one's own
install `mlflow` whole) and is imported only then. A store that fails loses the run, never what the
verb made: that stands on disk before anything is told.
"""

from __future__ import annotations

import argparse
import importlib
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from train.errors import TrackingError

EXPERIMENT: Final = "semantic-sidecar-router"
MAX_VALUE: Final = 500
"""Source: MLflow's own limit of a parameter's value (mlflow.org, "Tracking", read 2026-11-30) is
6,000 characters; one line is enough."""

_STRANGE: Final = re.compile(r"[^\w\-./ ]")


def add_tracking(parser: argparse.ArgumentParser) -> None:
    """The flag `--mlflow`."""
    parser.add_argument(
        "--mlflow",
        default="",
        metavar="URI",
        help="tell the run to this MLflow store (else MLFLOW_TRACKING_URI; neither tells nobody)",
    )


def track(
    args: argparse.Namespace,
    verb: str,
    *,
    params: Mapping[str, Any],
    metrics: Mapping[str, Any],
    documents: Mapping[str, Mapping[str, Any]],
) -> str:
    """The run's id; empty where no store is asked for.

    Args:
        args: Of the verb; `mlflow` names the store.
        verb: The run's name.
        params: What went in.
        metrics: What came out; numbers at any depth, named by their path.
        documents: Kept whole, by file name.

    Raises:
        TrackingError: MLflow is not installed, or its store refused.
    """
    uri = args.mlflow or os.environ.get("MLFLOW_TRACKING_URI", "")
    if not uri:
        return ""
    try:
        made = importlib.import_module("mlflow.tracking").MlflowClient
        refused = importlib.import_module("mlflow.exceptions").MlflowException
    except ImportError as fault:
        raise TrackingError(
            f"to tell {uri} of this run takes the extra `tracking`: pip install"
            f" 'semantic-sidecar[tracking]' ({fault})"
        ) from fault
    try:
        return _told(made(tracking_uri=uri), verb, params, metrics, documents)
    except (refused, OSError) as fault:
        raise TrackingError(f"{uri} refused the run: {fault}") from fault


def _told(
    client: Any,
    verb: str,
    params: Mapping[str, Any],
    metrics: Mapping[str, Any],
    documents: Mapping[str, Mapping[str, Any]],
) -> str:
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
    found = client.get_experiment_by_name(name)
    experiment = found.experiment_id if found is not None else client.create_experiment(name)
    run_id = str(client.create_run(experiment, run_name=verb, tags={"verb": verb}).info.run_id)
    for key, value in params.items():
        client.log_param(run_id, _name(key), str(value)[:MAX_VALUE])
    for path, number in numbers(metrics):
        client.log_metric(run_id, path, number)
    for file, document in documents.items():
        client.log_dict(run_id, dict(document), file)
    client.set_terminated(run_id)
    return run_id


def numbers(told: Any, path: str = "") -> Iterator[tuple[str, float]]:
    """Every number in nested maps, by its path: `{"a": {"b": 1}}` gives `("a.b", 1.0)`."""
    if isinstance(told, Mapping):
        for key, value in told.items():
            yield from numbers(value, f"{path}.{key}" if path else str(key))
    elif isinstance(told, bool | int | float):
        yield _name(path), float(told)


def _name(path: str) -> str:
    """What MLflow takes for a name."""
    return _STRANGE.sub("_", path)
