"""Whether somebody sees anything of a run: of what it changes; and what he is told when a repository cannot be read."""

from collections.abc import Iterator
from contextlib import contextmanager

from reconciler.errors import OctofleetError, Refused
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


@contextmanager
def told_in_sight(sight: Sight, source: str, what: str) -> Iterator[None]:
    """What goes wrong with a repository meanwhile is told in full to who sees all of its Fleet: the words may name branches, files and hosts of others. `what`
    says to them what cannot be done."""
    try:
        yield
    except OctofleetError as error:
        if error.code == "forbidden" or sight.whole(source):
            raise
        text = f"{what}, for a reason that tells of more than you may see"
        raise Refused(text, hint="ask somebody who sees all of the Fleet", code=error.code) from error
