"""The audit trail is searched by who and by what without reading all of it."""

from collections.abc import Sequence
from typing import Any, cast

import pytest

from reconciler.store.audit import AUDIT, entries
from reconciler.store.engine import Connection, Store, insert

ROWS = 5_000


class Asked:
    """Keeps the query that it is asked."""

    def rows(self, query: str, parameters: Sequence[Any]) -> list[Any]:
        self.query, self.parameters = query, parameters
        return []


@pytest.mark.parametrize(("wanted", "index"), [({"who": "local:ben"}, "audit_by_identity"), ({"action": "prune"}, "audit_by_action")])
def test_by_an_index(store: Store, kind: str, wanted: dict[str, Any], index: str) -> None:
    empty = dict.fromkeys(AUDIT, "") | {"at": 1.0, "subjects": b"[]", "tenants": b"[]", "details": b"{}"}
    rows = [empty | {"seq": seq, "identity": "local:ada", "action": f"apply-{seq % 3}"} for seq in range(1, ROWS)]
    rows.append(empty | {"seq": ROWS, "identity": "local:ben", "action": "prune"})
    with store.write() as connection:
        connection.run_many(insert("audit", AUDIT), [[row[name] for name in AUDIT] for row in rows])
        connection.grown("audit")
    asked = Asked()
    entries(cast("Connection", asked), **wanted)
    explain = "EXPLAIN QUERY PLAN" if kind == "sqlite" else "EXPLAIN"
    with store.read() as connection:
        plan = " ".join(str(row[-1]) for row in connection.rows(f"{explain} {asked.query}", asked.parameters))
    assert index in plan, plan
