"""Stages as a Prometheus histogram: `octofleet_stage_seconds{stage="compile"}`. prometheus-client is imported when `enable` is called.

In: the stages of this process, from `enable` on. Out: a registry for a server to show, or a file for node_exporter's textfile collector.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from reconciler import stages
from reconciler.files import replace_file

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

NAME = "octofleet_stage_seconds"
BUCKETS_S = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)


def enable(registry: "CollectorRegistry | None" = None) -> "CollectorRegistry":
    """Measure every stage from now on; once for each process. Gives the registry, by default one that holds nothing else. Raises ValueError if
    the registry has the histogram already."""
    from prometheus_client import CollectorRegistry, Histogram  # noqa: PLC0415 - takes longer to import than many a plan takes

    registry = registry or CollectorRegistry()
    text = "How long a stage of the work took, in seconds; stages inside others are told too."
    histogram = Histogram(NAME, text, ["stage"], buckets=BUCKETS_S, registry=registry)
    stages.around.append(lambda name: histogram.labels(stage=name).time())
    return registry


def write(registry: "CollectorRegistry", path: Path) -> None:
    """Make the file hold what the registry knows, in Prometheus' text format: whole or not at all. Raises `Permanent`."""
    from prometheus_client import generate_latest  # noqa: PLC0415 - see above

    replace_file(path, generate_latest(registry))
