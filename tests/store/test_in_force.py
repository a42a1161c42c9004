"""Rules in force are what is recorded, and damage is no rule less."""

from collections.abc import Callable

import pytest

from reconciler.errors import OctofleetError
from reconciler.store.engine import Connection
from reconciler.store.gates import load_gates
from reconciler.store.records import fleet_in_force, in_force, labels_of, rollouts, save_records
from tests.store.made import record


@pytest.mark.parametrize("ask", [
    lambda connection: fleet_in_force(connection, "f"),
    lambda connection: labels_of(connection, "f", ["host/shop/a"]),
    lambda connection: rollouts(connection, "f", ["host/shop/a"]),
    lambda connection: in_force(connection, "f", "policy"),
    load_gates,
])  # fmt: skip
def test_a_rule_that_is_recorded_and_not_stored_does_not_count_as_none(connection: Connection, ask: Callable[[Connection], object]) -> None:
    ask(connection)
    where = ("fleet/fleet/-/f", "fleet/host/shop/a", "fleet/rollout/shop/a", "fleet/policy/-/p", "fleet/maintenancewindow/-/w")
    save_records(connection, [record(address, digest="gone") for address in where])
    with pytest.raises(OctofleetError, match=r"the specification recorded at fleet/.* is gone"):
        ask(connection)
    assert fleet_in_force(connection, "another") == {} and labels_of(connection, "another", ["host/shop/a"]) == {}
