"""What stands in the database, as Prometheus metrics: made from one look (`store.standing`) when they are asked for."""

from collections.abc import Iterator, Mapping
from typing import TypeAlias

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily

from reconciler.store.engine import Store
from reconciler.store.standing import Standing, standing

KEPT_S = 5.0
"""How long one look is good: many scrapers cost no more than one."""
UP = "octofleet_database_up", "Whether the database answered in time: 1 or 0. Without it, what stands in it is not told."
Rows: TypeAlias = Mapping[tuple[str, ...], float]


def look(store: Store) -> Standing:
    """How everything stands. Raises `OctofleetError`."""
    with store.read() as connection:
        return standing(connection)


def page(registry: CollectorRegistry, found: Standing | None) -> bytes:
    """The registry's metrics, and those of the database as it was found; None: it did not answer."""
    here = CollectorRegistry()
    here.register(_Found(found))
    return generate_latest(registry) + generate_latest(here)


class _Found:
    """A collector of one look."""

    def __init__(self, found: Standing | None) -> None:
        self._found = found

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """As Prometheus' client asks for it."""
        yield _gauge(*UP, (), {(): float(self._found is not None)})
        if self._found is not None:
            yield from families(self._found)


def families(found: Standing) -> Iterator[GaugeMetricFamily]:
    """Every metric of the database."""
    yield _gauge("octofleet_runs", "Open runs by state.", ("state",), _by(found.runs))
    yield _gauge("octofleet_steps", "Steps of open runs by state.", ("state",), _by(found.steps))
    yield _gauge("octofleet_steps_due", "Steps that a worker could take now.", (), {(): found.due})
    text = "How long the longest waiting of these has been due, or its run open if that is shorter, in seconds."
    yield _gauge("octofleet_oldest_due_step_seconds", text, (), {(): found.oldest_due_s})
    yield _gauge("octofleet_workers", "Workers that live, in all processes.", (), {(): found.workers})
    text = "Resources that failed and are left alone by the loop for a while."
    yield _gauge("octofleet_resources_backing_off", text, (), {(): found.backing_off})
    text = "When a source last applied a commit, in seconds since 1970."
    yield _gauge("octofleet_source_applied_timestamp_seconds", text, ("source",), _by(found.applied_at))
    text = "Recorded resources that were last seen otherwise than recorded."
    yield _gauge("octofleet_resources_unsettled", text, ("source",), _by(found.unsettled))
    yield _gauge("octofleet_alerts_open", "Alerts that are open, by event.", ("event",), _by(found.alerts))
    text = "Receivers of AlertChannels that could not be told the last time."
    yield _gauge("octofleet_alert_receivers_failing", text, (), {(): found.alerts_failing})
    text = "Comments, statuses and reactions that are to stand at a forge, and do not yet."
    yield _gauge("octofleet_postings_open", text, ("forge",), _by(found.postings))
    text = "Machines that are being installed, by state: armed, booting or installing."
    yield _gauge("octofleet_installations", text, ("state",), _by(found.installs))
    text = "Hosts that playbooks were run on, by when they last were so: `answered`, or `converged` (all as wanted)."
    yield _gauge("octofleet_hosts", text, ("last", "age"), found.hosts)


def _by(numbers: Mapping[str, float]) -> Rows:
    return {(key,): number for key, number in numbers.items()}


def _gauge(name: str, text: str, labels: tuple[str, ...], rows: Rows) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=labels)
    for values, number in rows.items():
        family.add_metric(values, number)
    return family
