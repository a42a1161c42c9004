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
from reconciler.errors import OctofleetError, Permanent, RetryLater
from reconciler.events import happened
from reconciler.store import installs
from reconciler.store.engine import Connection, Store
from reconciler.store.records import load_records, load_specs
from reconciler.types.installation import Installation, Installed, Power, State
from reconciler.types.resource import address
from reconciler.types.values import Spec

AT_ONCE = 16
"""How many machines are switched at once."""
LABEL = b"octofleet install token 1"
Begin = Callable[[str, Spec, float], str]
"""Has a machine boot from the network now, given its tenant, what is recorded of it and since when that is asked; what there is to say, or empty. Raises
`OctofleetError`."""


def token_of(key: bytes, installation: str) -> str:
    """The token of an installation: 64 hexadecimal digits, 256 bits that nobody without the key can tell."""
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
    begin: Begin = lambda tenant, spec, asked_at: ""

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
            late = _over(connection, operation, found)
        if not late:
            return found
        with self.store.write() as connection:
            for item, state in _over(connection, operation, installs.by_operation(connection, operation)):
                if installs.end(connection, item.id, state, connection.now()):
                    happened("installation-ended", tenant=item.tenant, host=item.host, generation=item.generation, state=state.value)
            return installs.by_operation(connection, operation)

    def arm(self, operation: str, host: Host, generation: int, attempt: int = 1) -> None:
        """Begin an installation. Done again for the same step it changes nothing, whatever became of the one that it began: who did it may have been frozen
        meanwhile. Raises `Permanent` for a host that nothing is on record of, or a run that is over."""
        run = operation.rpartition(".")[0]
        tenant, name = host
        with self.store.write() as connection:
            spec, source = self._machine(connection, host)
            if any(
                (item.host, item.tenant) == (name, tenant) and item.attempt >= attempt
                for item in installs.by_operation(connection, operation)
            ):
                return
            state = connection.scalar("SELECT state FROM run WHERE id = ?", (run,))
            if state in ("cancelling", "cancelled", "failed", "done"):
                raise Permanent(f"{tenant}/{name} is not armed: run {run} is {state}", hint="plan again", code="no-run")
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
                power=Power.LATER if "bmc" in spec else Power.NONE,
            )
            installs.arm(connection, made)
        happened("installation-armed", tenant=tenant, host=name, generation=generation, attempt=attempt, run=run)

    def begin_anew(self, connection: Connection, before: Installation) -> Installation:
        """The same attempt with another token and all of its time, for whichever machine of the host asks next; what went before is cancelled."""
        now, of = connection.now(), random.token_hex(16)
        made = Installation(
            id=of,
            **{
                name: getattr(before, name)
                for name in ("tenant", "host", "source", "generation", "attempt", "attempts", "operation", "run")
            },
            state=State.ARMED,
            token=token_digest(token_of(self.key(), of)),
            armed_at=now,
            expires_at=now + before.expires_at - before.armed_at,
            power=Power.NONE if before.power is Power.NONE else Power.LATER,
        )
        installs.arm(connection, made)
        return made

    def start(self, operation: str) -> Sequence[str]:
        """Have the machines of a step boot from the network that have not come yet and can be told to, some at a time; what there is to say. Who refuses is
        left to a person; who does not answer is asked again the next time."""
        with self.store.read() as connection:
            waiting = [item for item in installs.by_operation(connection, operation) if item.waits_for_power]
            known = {item.id: self._recorded(connection, (item.tenant, item.host)) for item in waiting}
            specs = [found[0] for found in known.values() if found]
            wanted = [item for item in waiting if known[item.id]]
        if not wanted:
            return ()
        from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - slow to import, and seldom needed

        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="power") as threads:
            ends = list(threads.map(self._started, wanted, specs))
        with self.store.write() as connection:
            for item, (power, _) in zip(wanted, ends, strict=True):
                installs.note_power(connection, item.id, power)
        return [f"{item.tenant}/{item.host}: {text}" for item, (_, text) in zip(wanted, ends, strict=True) if text]

    def _started(self, item: Installation, spec: Spec) -> tuple[Power, str]:
        try:
            return Power.STARTED, self.begin(item.tenant, spec, item.armed_at)
        except RetryLater as error:
            return Power.LATER, f"{error.message}; it is tried again"
        except OctofleetError as error:
            return Power.REFUSED, f"{error.message}; switch it on yourself, or {error.hint}"

    def _recorded(self, connection: Connection, host: Host) -> tuple[Spec, str] | None:
        where = address("netboot", "machine", *host)
        record = load_records(connection, [where]).get(where)
        return (load_specs(connection, [record.digest])[record.digest], record.source) if record else None

    def _machine(self, connection: Connection, host: Host) -> tuple[Spec, str]:
        found = self._recorded(connection, host)
        if found is None:
            text = f"{host[0]}/{host[1]} cannot be armed: nothing is on record that it would be known by"
            raise Permanent(text, hint="give its interface a mac, or hardware.uuid", code="no-machine")
        return found

    def moved(self, old: Host, new: Host) -> None:
        """A host has another name."""
        with self.store.write() as connection:
            installs.move_installed(connection, old, new)

    def host_keys(self, tenant: str, host: str) -> tuple[str, ...]:
        """The SSH host keys that a host's installer told: lines without names."""
        with self.store.read() as connection:
            return installs.host_keys(connection, tenant, host)


def _over(connection: Connection, operation: str, items: Sequence[Installation]) -> list[tuple[Installation, State]]:
    """Those of a step that should end, and in which state."""
    now = connection.now()
    run = connection.scalar("SELECT state FROM run WHERE id = ?", (operation.rpartition(".")[0],))
    ends = State.CANCELLED if run in ("cancelling", "cancelled") else None
    over = ((item, State.EXPIRED if item.expires_at <= now else ends if item.claimed_at is None else None) for item in items if item.open)
    return [(item, state) for item, state in over if state is not None]
