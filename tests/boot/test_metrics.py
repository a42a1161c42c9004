"""What the boot server counts, as metrics; and what of installations people are alerted to."""

from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from reconciler.alert.condition import Event
from reconciler.metrics_boot import Booted
from reconciler.noticing import Notices
from reconciler.store.engine import Store
from reconciler.store.installs import note_installed
from reconciler.store.installs_listed import numbers
from reconciler.types.installation import Installed
from tests.operations.rows import add, add_installation, add_plan, add_run
from tests.store.databases import database_url, kind, store

__all__ = ["database_url", "kind", "store"]


def test_events_and_counts_become_metrics() -> None:
    registry = CollectorRegistry()
    made = Booted(registry)
    made.happened("boot-decision", {"decision": "install"})
    made.happened("boot-refused", {})
    made.happened("installation-stage", {"stage": "booted", "state": "installing"})
    made.happened("installation-stage", {"stage": "installed", "state": "installed"})
    made.happened("installation-ended", {"state": "expired"})
    for what, number in (("tftp_transfers", 2), ("tftp_refused", 1), ("tftp_bytes", 512), ("tftp_retransmissions", 3), ("dhcp_offered", 4)):
        made.counted(what, number)
    made.counted("driver_retries", 9)
    text = generate_latest(registry).decode()
    for line in (
        'octofleet_boot_decisions_total{decision="install"} 1.0',
        "octofleet_boot_refusals_total 1.0",
        'octofleet_installations_ended_total{state="installed"} 1.0',
        'octofleet_installations_ended_total{state="expired"} 1.0',
        'octofleet_tftp_transfers_total{result="complete"} 2.0',
        'octofleet_tftp_transfers_total{result="refused"} 1.0',
        "octofleet_tftp_bytes_total 512.0",
        "octofleet_tftp_retransmissions_total 3.0",
        'octofleet_dhcp_packets_total{result="offered"} 4.0',
    ):
        assert line in text.splitlines()
    assert 'state="installing"' not in text and " 9.0" not in text


def test_those_that_go_on_are_counted(store: Store) -> None:
    with store.write() as connection:
        assert numbers(connection) == {"armed": 0, "booting": 0, "installing": 0}
        add_installation(connection, "a", "armed", seq=1, ended=None)
        add_installation(connection, "b", "installing", seq=2, ended=None, host="web-2")
        add_installation(connection, "c", "failed", seq=3, ended=1.0, host="web-3")
        assert numbers(connection) == {"armed": 0, "booting": 1, "installing": 1}


@pytest.mark.parametrize("over", ["armed again", "adopted", "gone"])
def test_a_machine_that_was_not_installed_is_alerted_to(store: Store, tmp_path: Path, over: str) -> None:
    with store.write() as connection:
        for number, host in enumerate(("web-1", "web-2"), 1):
            add_installation(connection, host, "failed" if number == 1 else "expired", seq=number, ended=1.0, host=host)
            record = {"source": "f", "digest": "d", "rules": b"{}", "group": f"host/t/{host}", "external_id": "", "observed_digest": "d"}
            add(connection, "record", address=f"netboot/machine/t/{host}", commit="c", **record)

        def told() -> list[str]:
            return [one.subject for one in Notices().look(connection, {}, 0.0, None).values() if one.event is Event.INSTALL_FAILED]

        assert told() == ["host/t/web-1", "host/t/web-2"]
        add_plan(connection, 1, 0.0)
        add_run(connection, "r", 1, None)
        assert told() == ["host/t/web-2"], "attempts are left, and its run goes on"
        if over == "armed again":
            add_installation(connection, "next", "armed", seq=9, ended=None, host="web-2")
        elif over == "adopted":
            note_installed(connection, Installed(tenant="t", host="web-2", generation=2, at=1.0))
        else:
            connection.run("DELETE FROM record WHERE address = ?", ("netboot/machine/t/web-2",))
        assert told() == []
