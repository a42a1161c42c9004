"""Arming machines: what the driver `netboot` is given of the store. Each call is a transaction of its own.

The token of an installation is derived from the installation's key and the id of its row, so that fetching a boot script twice gives the same bytes while
the database has no more than a digest of it.
"""

import hashlib
import hmac
import secrets as random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from reconciler.drivers.netboot import Host
from reconciler.errors import Permanent
from reconciler.events import happened
from reconciler.store import installs
from reconciler.store.engine import Connection, Store
from reconciler.store.records import load_records, load_specs
from reconciler.types.installation import Installation, Installed, State
from reconciler.types.resource import address
from reconciler.types.values import Spec

LABEL = b"octofleet install token 1"
Start = Callable[[str, Spec], str]
"""Has a machine boot from the network now, given its tenant and what is recorded of it; what there is to say, or empty. Raises `OctofleetError`."""


def token_of(key: bytes, installation: str) -> str:
    """The token of an installation: 43 characters, 256 bits that nobody without the key can tell."""
    return hmac.digest(hmac.digest(key, LABEL, "sha256"), installation.encode(), "sha256").hex()


def token_digest(token: str) -> str:
    """What the database has of it."""
    return hashlib.sha256(token.encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Arming:
    """`within_s`: how long a machine has, where its manifest does not say."""

    store: Store
    key: Callable[[], bytes]
    within_s: float
    start: Start = lambda tenant, spec: ""

    def ledger(self, hosts: Sequence[Host]) -> Mapping[Host, Installed]:
        """What hosts were installed with."""
        with self.store.read() as connection:
            return installs.ledger(connection, hosts)

    def going_on(self, hosts: Sequence[Host]) -> Mapping[Host, Installation]:
        """Installations that have not ended, but for those whose time is over."""
        with self.store.read() as connection:
            now = connection.now()
            found = installs.going_on(connection, hosts)
        return {host: item for host, item in found.items() if item.expires_at > now}

    def armed_by(self, operation: str) -> Sequence[Installation]:
        """Those of a step. What is over by time ends now; so does what no machine has come for, if its run was cancelled."""
        with self.store.read() as connection:
            found = installs.by_operation(connection, operation)
            late = [item for item in found if _over(connection, item) is not None]
        if not late:
            return found
        with self.store.write() as connection:
            for item in late:
                state = _over(connection, item)
                if state is not None and installs.end(connection, item.id, state, connection.now()):
                    happened("installation-ended", tenant=item.tenant, host=item.host, generation=item.generation, state=state.value)
            return installs.by_operation(connection, operation)

    def arm(self, operation: str, host: Host, generation: int, attempt: int = 1) -> str:
        """Begin an installation, and start the machine where its manifest has a BMC. Done again for the same step, it changes nothing."""
        run = operation.rpartition(".")[0]
        tenant, name = host
        with self.store.write() as connection:
            spec, source = self._machine(connection, host)
            before = installs.open_installation_of(connection, tenant, name)
            if before is None or (before.operation, before.attempt) != (operation, attempt):
                now, of = connection.now(), random.token_hex(16)
                made = Installation(
                    id=of,
                    tenant=tenant,
                    host=name,
                    source=source,
                    generation=generation,
                    attempt=attempt,
                    attempts=spec.get("attempts", 1),
                    state=State.ARMED,
                    operation=operation,
                    run=run,
                    token=token_digest(token_of(self.key(), of)),
                    armed_at=now,
                    expires_at=now + spec.get("withinS", self.within_s),
                )
                installs.arm(connection, made)
        happened("installation-armed", tenant=tenant, host=name, generation=generation, attempt=attempt, run=run)
        return self.start(tenant, spec)

    def _machine(self, connection: Connection, host: Host) -> tuple[Spec, str]:
        where = address("netboot", "machine", *host)
        record = load_records(connection, [where]).get(where)
        if record is None:
            text = f"{host[0]}/{host[1]} cannot be armed: nothing is on record that it would be known by"
            raise Permanent(text, hint="give its interface a mac, or hardware.uuid", code="no-machine")
        return load_specs(connection, [record.digest])[record.digest], record.source

    def moved(self, old: Host, new: Host) -> None:
        """A host has another name."""
        with self.store.write() as connection:
            installs.move_installed(connection, old, new)

    def host_keys(self, tenant: str, host: str) -> tuple[str, ...]:
        """The SSH host keys that a host's installer told: lines without names."""
        with self.store.read() as connection:
            return installs.host_keys(connection, tenant, host)


def _over(connection: Connection, item: Installation) -> State | None:
    """The state that one which goes on should end in."""
    if not item.open:
        return None
    if item.expires_at <= connection.now():
        return State.EXPIRED
    run = connection.scalar("SELECT state FROM run WHERE id = ?", (item.run,))
    return State.CANCELLED if item.claimed_at is None and run in ("cancelling", "cancelled") else None
