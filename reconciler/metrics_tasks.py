"""Metrics of playbook runs. See `metrics`."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

STATUSES = ("ok", "changed", "failed", "ignored", "skipped", "unreachable")
BUCKETS_S = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3600.0)


class Played:
    """The metrics that the ends of playbook runs move."""

    def __init__(self, registry: "CollectorRegistry") -> None:
        from prometheus_client import Counter, Histogram  # noqa: PLC0415 - see `metrics`

        text = "Results of tasks of playbooks on hosts, by how they ended."
        self._tasks = Counter("octofleet_ansible_tasks_total", text, ["status"], registry=registry)
        for status in STATUSES:
            self._tasks.labels(status=status)
        text = "How long playbook runs took, in seconds."
        self._playbooks = Histogram("octofleet_playbook_seconds", text, buckets=BUCKETS_S, registry=registry)

    def happened(self, name: str, fields: Mapping[str, Any]) -> None:
        """An event."""
        if name == "playbook-ended":
            self._playbooks.observe(fields["seconds"])
            for status in STATUSES:
                self._tasks.labels(status=status).inc(fields.get(status, 0))

    def counted(self, what: str, number: int) -> None:
        """No count of work is of these."""
