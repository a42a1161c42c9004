"""Whether somebody sees anything of a run: of what it changes."""

from reconciler.identity.sight import Sight
from reconciler.store.engine import Connection
from reconciler.store.runs import JournalRun, tenants_of_run


def sees_run(connection: Connection, sight: Sight, run: JournalRun) -> bool:
    """Of a run."""
    if sight.whole(run.source):
        return True
    partly = set[str]()
    for tenant in tenants_of_run(connection, run.id):
        if sight.of_tenant(run.source, tenant):
            return True
        if sight.some_of(run.source, tenant):
            partly.add(tenant)
    query = "SELECT item.address FROM step JOIN item ON item.run = step.run AND item.step = step.seq WHERE step.run = ? AND step.tenant = ?"
    return any(sight.address(run.source, where) for tenant in sorted(partly) for (where,) in connection.rows(query, (run.id, tenant)))
