"""What this process does, as Prometheus metrics. prometheus-client is imported when `enable` or `of_process` is called.

In: stages, counts and events of this process, from then on. Out: a registry for a server to show, or a file for node_exporter's textfile
collector. What stands in the database is told by `server.scrape`. No label is an address, a run or a step: their number has no bound.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reconciler import events, stages
from reconciler.files import replace_file
from reconciler.metrics_boot import Booted
from reconciler.metrics_tasks import Played

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Metric

NAME = "octofleet_stage_seconds"
BUCKETS_S = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
STEP_BUCKETS_S = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3600.0)
ENTRY_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 500)
BREAKER_STATES = ("closed", "open", "half-open")


def enable(registry: "CollectorRegistry | None" = None) -> "CollectorRegistry":
    """Measure every stage from now on; once for each process. Gives the registry, by default one that holds nothing else. Raises ValueError if
    the registry has the histogram already."""
    from prometheus_client import (  # noqa: PLC0415 - takes longer to import than many a plan takes
        CollectorRegistry,
        Histogram,
        disable_created_metrics,
    )

    disable_created_metrics()  # type: ignore[no-untyped-call]  # when a series began, once more for each of them: nobody asks
    registry = registry or CollectorRegistry()
    text = "How long a stage of the work took, in seconds; stages inside others are told too."
    histogram = Histogram(NAME, text, ["stage"], buckets=BUCKETS_S, registry=registry)
    stages.around.append(lambda name, about: histogram.labels(stage=name).time())
    return registry


def of_process(registry: "CollectorRegistry", version: str, breakers: Callable[[], Iterable[tuple[str, str]]]) -> None:
    """Count all that this process does from now on; once for each process. `breakers` gives the key (`driver/provider`) and state of each. Raises
    ValueError if the registry has these metrics already."""
    from prometheus_client import Gauge, PlatformCollector, ProcessCollector  # noqa: PLC0415 - see above

    enable(registry)
    for counted in (_Counted(registry), Booted(registry), Played(registry)):
        events.listeners.append(counted.happened)
        stages.counters.append(counted.counted)
    build = Gauge("octofleet_build_info", "Always 1; the version is a label.", ["version"], registry=registry)
    build.labels(version=version).set(1)
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    registry.register(_Breakers(breakers))


class _Counted:
    """The metrics that events and counts move."""

    def __init__(self, registry: "CollectorRegistry") -> None:
        from prometheus_client import Counter, Histogram  # noqa: PLC0415 - see above

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(name, text, labels, registry=registry)

        self._attempts = counter("octofleet_step_attempts_total", "Leases of steps that are over, by how they ended.", "driver", "result")
        self._changes = counter("octofleet_changes_total", "Changes that ended.", "driver", "action", "status")
        self._lost = counter("octofleet_leases_lost_total", "Leases that were taken away from this process while it worked.")
        self._takeovers = counter("octofleet_takeovers_total", "Workers whose leases this process took away.")
        self._runs = counter("octofleet_runs_ended_total", "Runs whose end this process wrote.", "state")
        self._away = counter("octofleet_database_losses_total", "How often the database stopped answering.")
        self._retries = counter("octofleet_driver_retries_total", "Calls of drivers that were tried again in place.")
        self._opened = counter("octofleet_breaker_opened_total", "How often a provider was left alone from then on.")
        self._alerts = counter(
            "octofleet_alert_messages_total", "Messages to receivers of AlertChannels, by whether they arrived.", "result"
        )
        for result in ("sent", "failed"):
            self._alerts.labels(result=result)
        self._deliveries = counter("octofleet_deliveries_total", "Deliveries of forges, by how they were answered.", "forge", "result")
        self._postings = counter("octofleet_postings_total", "What was told to forges, by how that went.", "forge", "result")
        self._polls = counter("octofleet_polls_total", "Polls of forges, by how they went.", "forge", "result")
        text = "How long it took to answer a delivery of a forge, in seconds."
        self._answers = Histogram("octofleet_delivery_seconds", text, buckets=BUCKETS_S[:10], registry=registry)
        text = "From the first begin of a step until its end, waits included, in seconds."
        self._steps = Histogram("octofleet_step_seconds", text, ["driver"], buckets=STEP_BUCKETS_S, registry=registry)
        text = "How long it took to make entries of the journal durable, in seconds."
        self._commits = Histogram("octofleet_journal_commit_seconds", text, buckets=BUCKETS_S[:10], registry=registry)
        text = "Entries of the journal that became durable together."
        self._entries = Histogram("octofleet_journal_entries_per_commit", text, buckets=ENTRY_BUCKETS, registry=registry)

    def happened(self, name: str, fields: Mapping[str, Any]) -> None:
        """An event."""
        match name:
            case "attempt-ended":
                self._attempts.labels(driver=fields["driver"], result=fields["result"]).inc()
                if "step_s" in fields:
                    self._steps.labels(driver=fields["driver"]).observe(fields["step_s"])
            case "change-ended":
                self._changes.labels(driver=fields["driver"], action=fields["action"], status=fields["status"]).inc()
            case "journal-committed":
                self._commits.observe(fields["seconds"])
                self._entries.observe(fields["entries"])
            case "run-ended":
                self._runs.labels(state=fields["state"]).inc()
            case "alert-sent" | "alert-failed":
                self._alerts.labels(result=name.removeprefix("alert-")).inc()
            case "lease-lost":
                self._lost.inc()
            case "takeover":
                self._takeovers.inc()
            case "database-away":
                self._away.inc()
            case "delivery":
                self._deliveries.labels(forge=fields["forge"], result=fields["result"]).inc()
                self._answers.observe(fields["seconds"])
            case "posted" | "posting-failed":
                self._postings.labels(forge=fields["forge"], result="posted" if name == "posted" else "failed").inc()
            case "polled" | "poll-failed":
                self._polls.labels(forge=fields["forge"], result="done" if name == "polled" else "failed").inc()

    def counted(self, what: str, number: int) -> None:
        """A count of work."""
        match what:
            case "driver_retries":
                self._retries.inc(number)
            case "breaker_opened":
                self._opened.inc(number)


class _Breakers:
    """`octofleet_breaker_state`: for each provider 1 at the state that it is in and 0 at the others."""

    def __init__(self, breakers: Callable[[], Iterable[tuple[str, str]]]) -> None:
        self._breakers = breakers

    def collect(self) -> Iterator["Metric"]:
        """As Prometheus' client asks for it."""
        from prometheus_client.core import GaugeMetricFamily  # noqa: PLC0415 - see above

        text = "How this process stands to a provider: 1 at the state that holds, 0 at the others."
        family = GaugeMetricFamily("octofleet_breaker_state", text, labels=["driver", "provider", "state"])
        for key, now in self._breakers():
            driver, _, provider = key.partition("/")
            for state in BREAKER_STATES:
                family.add_metric([driver, provider, state], float(state == now))
        yield family


def write(registry: "CollectorRegistry", path: Path) -> None:
    """Make the file hold what the registry knows, in Prometheus' text format: whole or not at all. Raises `Permanent`."""
    from prometheus_client import generate_latest  # noqa: PLC0415 - see above

    replace_file(path, generate_latest(registry))
