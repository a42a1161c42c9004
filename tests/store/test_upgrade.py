"""What the store does, it also does on a database that a later version has expanded."""

from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.store.engine import HEAD, Store, _database
from reconciler.store.migration import migrate
from tests.store import test_store, test_transactions
from tests.store.test_migration import EXPAND, later

OPERATIONS: list[Callable[[Store], None]] = [
    test_store.test_records_round_trip_and_have_one_owner,
    test_store.test_observations_round_trip,
    test_store.test_specifications_are_kept_by_digest_with_their_newest_references,
    test_store.test_plans_round_trip,
    test_store.test_sources,
    test_transactions.test_a_reader_sees_one_state_and_may_write_beside_it,
    test_transactions.test_writers_take_turns,
    test_transactions.test_many_values_go_in_parts,
]


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.__name__.removeprefix("test_"))
def test_on_an_expanded_database(operation: Callable[[Store], None], database_url: str, tmp_path: Path) -> None:
    Store(database_url).close()
    migrate(_database(database_url), later(tmp_path, EXPAND, f'READABLE_FROM = "{HEAD}"'))
    store = Store(database_url)
    operation(store)
    store.close()
