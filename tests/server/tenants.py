"""A fleet of two tenants, and the people of each: what one of them may see is never to show for another."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from reconciler import gating
from reconciler.alert.condition import Condition, Event
from reconciler.identity.access import Action
from reconciler.planning import make_plan
from reconciler.reading.watch import watch
from reconciler.store.alerts import save_conditions
from reconciler.store.audit import record
from reconciler.store.backoff import back_off
from reconciler.store.engine import Connection
from reconciler.store.hosts import save_told
from reconciler.store.installs import arm, note_installed, save_seen
from reconciler.store.leases import WorkerRow, beat
from reconciler.store.pull_locks import take_locks
from reconciler.store.pulls import Command, PullKey, ask_pull, save_command
from reconciler.store.tasks import save_tasks
from reconciler.types.audit import Entry
from reconciler.types.canonical import pack
from reconciler.types.change import Cause
from reconciler.types.installation import Installation, Installed, Stage, State
from reconciler.types.outcome import Status
from reconciler.types.request import Request
from reconciler.types.task import Counted, HostTold, HostTotal, PlayTold, TaskTold, TaskTotal
from tests.fleets import FLEET, TENANT, host
from tests.gate.site import Site
from tests.server.site import person, token

OPS = """apiVersion: octofleet/v1
kind: RoleMapping
metadata: {name: ops}
spec:
  bindings:
    - {role: super-admin, subjects: ["github:root", "local:root"]}
---
apiVersion: octofleet/v1
kind: RoleMapping
metadata: {name: staff, tenant: shop}
spec:
  bindings:
    - {role: operator, subjects: ["github:sam", "token:shop"]}
    - {role: viewer, subjects: ["github:vera"]}
---
apiVersion: octofleet/v1
kind: RoleMapping
metadata: {name: staff, tenant: bank}
spec:
  bindings:
    - {role: admin, subjects: ["github:ben"]}
    - {role: operator, subjects: ["github:narrow"], scopes: ["host/bank/vault-01"]}
"""
WINDOWS = "---\n".join(
    f"""apiVersion: octofleet/v1
kind: MaintenanceWindow
metadata: {{name: nights, tenant: {tenant}}}
spec:
  mode: freeze
  times: [{{start: "2199-01-01T00:00", duration: 1h}}]
"""
    for tenant in ("shop", "bank")
)
"""Freezes that are not on before anybody now alive is gone."""
ROOT, SAM, VERA, BEN, NARROW, NOBODY = (person(f"github:{name}") for name in ("root", "sam", "vera", "ben", "narrow", "nobody"))
SHOP, READS = token("token:shop", Action.VIEW, Action.PAUSE), token("token:shop", Action.VIEW)
CALLERS = (ROOT, SAM, VERA, BEN, NARROW, NOBODY, SHOP)
OF_BANK = ("bank", "vault")
"""What only those of the tenant `bank` may read anywhere."""


def two_tenants(path: Path, url: str, *, name: str = "test") -> Site:
    """Three hosts of `shop` and two of `bank`, all applied, in a Fleet of this name; the next change of a host of each is pending."""
    bank = {
        "windows.yaml": WINDOWS,
        "fleet.yaml": FLEET.replace("test", name),
        "bank.yaml": TENANT.replace("shop", "bank"),
        "ops.yaml": OPS,
    }
    bank |= {f"vault-{n}.yaml": host(f"vault-{n:02d}", 100 + n, tenant="bank") for n in (1, 2)}
    site = Site(path, url, hosts=3, files=bank)
    site.settle()
    return site


def change_both(site: Site) -> None:
    """Another package for a host of each tenant."""
    spec = "  packages: [htop]\n"
    site.repo.commit(
        {"host-1.yaml": host("web-01", 1, spec=spec), "vault-1.yaml": host("vault-01", 101, tenant="bank", spec=spec)},
    )


def pull_of(site: Site, tenant: str, number: int) -> PullKey:
    """A pull request whose plan changes a host of a tenant, which it holds; somebody has asked for another plan."""
    key = PullKey(forge="hub", project="acme/fleet", number=number)
    name, spot = {"shop": ("web-02", 2), "bank": ("vault-02", 102)}[tenant]
    file = f"{'host' if tenant == 'shop' else 'vault'}-2.yaml"
    before = host(name, spot, tenant=tenant)
    site.repo.commit({file: host(name, spot, tenant=tenant, spec=f"  packages: [tool-{number}]\n")})
    made = make_plan(site.installation, site.installation.repository(str(site.repo.path)), Request(scope=f"host/{tenant}/{name}"))
    site.repo.commit({file: before})
    seen = {"title": f"more for {name}", "identity": f"github:{tenant}", "head_branch": f"more-{name}", "url": "https://hub.example.net/1"}
    with site.store.write() as connection:
        ask_pull(connection, key, str(site.repo.path))
        query = "UPDATE pull SET head = ?, plan = ?, planned_at = ?, seen = ? WHERE forge = ? AND project = ? AND number = ?"
        connection.run(query, ("c" * 40, made.row, 1000.0, pack(seen), *key.place))
        said = {"author": tenant, "body": f"/octofleet plan of {name}", "at": 1.0, "done_at": 2.0, "answer": "planned"}
        save_command(connection, Command(forge=key.forge, comment=f"c{number}", project=key.project, number=number, **said))  # type: ignore[arg-type]
        take_locks(connection, key, "test", [change.address for change in made.plan.changes])
    return key


def look_again(site: Site) -> None:
    """Observe everything, as `octofleet drift` does; what process looks at the picture next sees it."""
    repository = site.installation.repository(str(site.repo.path))
    request = Request(rev=site.rows("SELECT applied_commit FROM source")[0][0], refresh=True, causes=frozenset({Cause.DRIFT}))
    make_plan(site.installation, repository, request)
    watch(site.installation).look()


def spoil(site: Site, where: str, **values: Any) -> None:
    """Change a thing by hand."""
    spec, _ = site.world.things()[where]
    site.world.put(where, {**spec, "values": {**spec["values"], **values}})


HOSTS = (*(("shop", f"web-0{n}") for n in (1, 2, 3)), *(("bank", f"vault-0{n}") for n in (1, 2)))


def told(tenant: str, name: str, at: float, release: int) -> HostTold:
    """What a host says of itself: its kernel is its tenant's own, in one of two releases."""
    facts = {"kernel": f"6.1.0-{release}-{tenant}", "distribution": "Debian", "memory_mb": 1024, "interfaces.eth0.mac": f"52:54:00:{name}"}
    return HostTold(tenant=tenant, host=name, at=at, answered=True, facts=facts)


def fill(site: Site) -> None:
    """Something of each kind for each tenant, and something that is across them."""
    for number, tenant in ((1, "shop"), (2, "bank")):
        pull_of(site, tenant, number)
        gating.pause(site.installation, f"tenant/{tenant}", 3600, f"{tenant} counts", identity=f"github:{tenant}")
    gating.pause(site.installation, "fleet", 3600, "bank is audited", identity="github:root")
    conditions = [
        Condition(event=Event.DRIFT_FOUND, source="test", tenant=tenant, subject=f"{tenant} hosts", text="drift", next="", since=1.0)
        for tenant in ("shop", "bank", "")
    ]
    with site.store.write() as connection:
        ask_pull(connection, PullKey(forge="hub", project="acme/fleet", number=3), str(site.repo.path))
        save_conditions(connection, {}, {one.key: one for one in conditions})
        failed = {f"memory/config/{tenant}/{name}": (Status.FAILED, name) for tenant, name in (("shop", "web-01"), ("bank", "vault-01"))}
        back_off(connection, failed, connection.now())
        for tenant, name in (("shop", "web-02"), ("bank", "vault-01")):
            install(connection, tenant, name)
        beat(connection, WorkerRow(id="w", name="vault-machine:1", role="serve", version="1", started_at=1.0, until=connection.now() + 600))
        for at, release in ((connection.now() - 3600, 25), (connection.now(), 26)):
            save_told(connection, [told(tenant, name, at, release) for tenant, name in HOSTS])
        for run, running in list(connection.rows("SELECT id, ended_at IS NULL FROM run ORDER BY started_at")):
            ended = connection.now() - (60 if running else 600)
            save_tasks(connection, [(run, n, 1, played(tenant, ended, 3)) for n, tenant in enumerate(("shop", "bank"))])
        for tenants in (("shop",), ("bank",), ("bank", "shop"), ()):
            record(
                connection,
                Entry(identity=f"github:{'-'.join(tenants) or 'root'}", action="look", tenants=tenants, source="test", reason=f"{tenants}"),
            )


def install(connection: Connection, tenant: str, host: str) -> None:
    """Two installations of a host, of which one failed and the other goes on, with what a machine of ill will tells of itself."""
    now, told = connection.now(), f"<script>alert('{host}')</script>"
    run = connection.scalar("SELECT id FROM run ORDER BY started_at LIMIT 1") or "r"
    made = Installation(
        id=f"{tenant}-1",
        tenant=tenant,
        host=host,
        source="test",
        generation=2,
        attempt=1,
        attempts=2,
        state=State.FAILED,
        operation=f"{run}.1",
        run=run,
        token=f"{tenant}-1",
        armed_at=now - 900,
        expires_at=now + 900,
        ended_at=now - 600,
        stage=Stage.BOOTED,
        stage_at=now - 600,
        log="no disk",
    )
    arm(connection, made)
    going_on = {
        "claimed_at": now - 60,
        "stage_at": now - 30,
        "claimed_by": "192.0.2.77",
        "log": f"{told}\npartitioning /dev/vda\n" + "x" * 300,
    }
    facts = pack({"kernel": "6.1", told: [told]})
    arm(
        connection,
        replace(
            made,
            id=f"{tenant}-2",
            attempt=2,
            state=State.INSTALLING,
            token=f"{tenant}-2",
            armed_at=now - 90,
            ended_at=None,
            facts=facts,
            **going_on,
        ),
    )
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFVyYW5kb20ta2V5LWZvci10ZXN0cy1vbmx5"
    note_installed(connection, Installed(tenant=tenant, host=host, generation=1, at=now - 9000, sure=False, keys=key, why="installation 1"))
    why = f"known by serial:{host}; it is armed: generation 2, attempt 2 of 2"
    save_seen(connection, [(tenant, host, now - 60, "192.0.2.77", "uefi", "install", why)])


PLAYED_ON = {"shop": ("web-01", "web-02"), "bank": ("vault-01", "vault-02")}
PLAYED = (Counted(ok=3, changed=1), Counted(ok=3, changed=1, failed=1))
EVIL = "<script>alert(1)</script>"


def played(tenant: str, now: float, number: int = 1) -> PlayTold:
    """What a playbook told that ran on the hosts of a tenant, with so many tasks."""
    hosts = PLAYED_ON[tenant]
    tasks = [
        TaskTold(
            tenant=tenant, host=host, name=f"Install {n}", place=f"{tenant}.yml:3", status=status, at=now + n, seconds=2.0, message=message
        )
        for n in range(number)
        for host, status, message in zip(hosts, ("changed", "failed"), ("", f"no space on {hosts[1]} {EVIL}"), strict=True)
    ]
    totals = [
        TaskTotal(
            tenant=tenant,
            number=n,
            name=f"Install {n}",
            place=f"{tenant}.yml:3",
            counted=PLAYED[n % 2],
            seconds=4.0 + n,
            most_s=3.0,
            slowest=hosts[1],
        )
        for n in range(number)
    ]
    of_hosts = [HostTotal(tenant=tenant, host=host, counted=Counted(changed=1), seconds=2.0, at=now) for host in hosts]
    return PlayTold(tasks=tasks, totals=totals, hosts=of_hosts)
