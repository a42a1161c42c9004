"""The hosts of a commit as an inventory for Ansible: what `octofleet inventory` prints, and what programs get of a server."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reconciler.desired.desired import Desired
from reconciler.drivers.ansible.driver import AnsibleDriver
from reconciler.drivers.ansible.dynamic import Key, names, script_document, told
from reconciler.drivers.ansible.settings import ansible_providers, ansible_settings
from reconciler.errors import Refused
from reconciler.planning import compiled
from reconciler.reading.call import Call
from reconciler.reading.explain import Rev, Word
from reconciler.reading.paging import Ask
from reconciler.reading.whose import told_in_sight
from reconciler.scope import in_scope, is_scope
from reconciler.settings import Ansible
from reconciler.store.records import applied_commit, locations
from reconciler.types.host import ResolvedHost

UNKNOWN = "what is wanted is not known: something is wrong with the repository; octofleet validate says what"


class InventoryAsk(Ask, frozen=True, kw_only=True):
    """`source`: the hosts of this Fleet alone; `rev`: a commit of it, by default the one applied last; `scope`: a pattern such as `host/shop/web-*`; `host`:
    only this one, by its name in the inventory."""

    source: Word = ""
    rev: Rev = ""
    scope: Word = ""
    host: Word = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Hosts of a Fleet at a commit, by group. `why`: what is told of one of them that is unknown."""

    source: str
    commit: str
    desired: Desired
    groups: Sequence[str]
    why: Callable[[str], str]


def inventory(call: Call, ask: InventoryAsk) -> dict[str, Any]:
    """The inventory of the hosts that the caller sees: as an inventory script answers `--list`."""
    check_scope(ask.scope)
    sight = call.sight
    with call.installation.store.read() as connection:
        sources = [name for name in locations(connection) if sight.some(name) and ask.source in ("", name)]
    if ask.source and not sources:
        raise Refused(
            f"there is no Fleet {ask.source}, or none that you may see", hint="/status lists those that you may see", code="no-source"
        )
    if ask.rev and len(sources) != 1:
        raise Refused("a commit is of one Fleet", hint="say which with source", code="usage")
    parts = [_part(call, source, ask.rev) for source in sources]
    return inventory_of(parts, call.installation.settings.ansible, ask.scope, ask.host)


def _part(call: Call, source: str, rev: str) -> Part:
    with call.installation.store.read() as connection:
        applied = applied_commit(connection, source)
    if applied is None:
        raise Refused(f"the Fleet {source} is gone", hint="ask again", code="no-source")
    repository = call.installation.repository(applied[1], fetch=False)
    with told_in_sight(call.sight, source, "the revision cannot be read"):
        commit = repository.commit(rev or applied[0])
        desired = compiled(call.installation, repository, commit)
    if desired.fleet is not None and desired.fleet.name != source:
        raise Refused(f"{commit.id[:12]} is not of the Fleet {source}", hint="name a commit of its repository", code="no-ref")
    whole = call.sight.whole(source)
    seen = [group for group in hosts_of(desired) if call.sight.sees(source, group.split("/")[1], group)]
    return Part(
        source=source, commit=commit.id, desired=desired, groups=seen, why=desired.blocked.__getitem__ if whole else lambda group: UNKNOWN
    )


def hosts_of(desired: Desired) -> Iterator[str]:
    """The groups of all hosts that a commit has, those that are unknown too."""
    yield from sorted({*desired.hosts, *(group for group in desired.blocked if group.startswith("host/"))})


def check_scope(scope: str) -> None:
    """Return if a text is a scope, or empty. Raises `Refused`."""
    if scope and not is_scope(scope):
        hint = "for example host/shop/web-*, or tenant/shop"
        raise Refused(f"{scope} is no scope", hint=hint, code="usage")


def inventory_of(parts: Sequence[Part], settings: Ansible, scope: str = "", host: str = "") -> dict[str, Any]:
    """The document, of all hosts of these parts that are in a scope, or of one by its name. What a host is called does not depend on these. Raises `Refused` if
    there is no such host, or if it is unknown."""
    called = names(_key(part, group) for part in parts for group in part.groups)
    user = _users(settings)
    found: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {}
    unknown: dict[str, str] = {}
    for part in parts:
        for group in part.groups:
            name = called[_key(part, group)]
            if not (name == host if host else in_scope(group, scope)):
                continue
            resolved = part.desired.host(group)
            if resolved is None:
                unknown[name] = part.why(group)
            else:
                found[name] = told(resolved, user(resolved))
    if host and not found:
        raise _no_host(host, unknown, called)
    return script_document(found, {"commits": {part.source: part.commit for part in parts}, "unknown": unknown})


def _key(part: Part, group: str) -> Key:
    _, tenant, name = group.split("/")
    return part.source, tenant, name


def _no_host(host: str, unknown: Mapping[str, str], called: Mapping[Key, str]) -> Refused:
    if host in unknown:
        return Refused(f"{host}: {unknown[host]}", hint="octofleet validate shows where to mend it", code="desired-unknown")
    alike = sorted(name for name in called.values() if name.rpartition(".")[2] == host.rpartition(".")[2])
    hint = f"there is: {', '.join(alike[:10])}" if alike else "octofleet inventory lists all"
    return Refused(f"there is no host {host} in the inventory", hint=hint, code="no-host")


def _users(settings: Ansible) -> Callable[[ResolvedHost], str]:
    """As whom a run would come to a host; empty where the settings do not say."""
    driver = AnsibleDriver(ansible_settings(settings), ansible_providers(settings))

    def of(host: ResolvedHost) -> str:
        way = driver.way(str(host.values.get("ansibleProvider", "")), host.tenant)
        return way.user if way is not None else ""

    return of
