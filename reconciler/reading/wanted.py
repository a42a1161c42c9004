"""What a commit wants of one host, for whoever sees that host; the rest of the fleet costs nothing, and nothing of it is told."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any
from urllib.parse import quote

from reconciler.comparing import resources
from reconciler.desired.desired import Desired
from reconciler.desired.merge import is_secret
from reconciler.errors import OctofleetError, Refused
from reconciler.identity.access import Action
from reconciler.planning import compiled
from reconciler.reading.call import Call
from reconciler.reading.hosts import HostsAsk, matching
from reconciler.reading.paging import Ask, Document
from reconciler.reading.seen import seen
from reconciler.reading.whose import told_in_sight
from reconciler.source.repository import Commit, Repository
from reconciler.store.records import applied_commit, locations
from reconciler.tracking import CommitTree
from reconciler.types.host import ResolvedHost
from reconciler.types.resource import Resource
from reconciler.types.values import KnownAfter, Secret, redacted

MOST = 10
"""So many hosts are named that have the like in their names."""


@dataclass(frozen=True, kw_only=True)
class Ref:
    """A host of a source, by the group that it is."""

    source: str
    group: str

    @property
    def tenant(self) -> str:
        """Its tenant."""
        return self.group.split("/")[1]


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A commit of a source. `host` is None where the commit does not have the host, or it is blocked: `why` says which."""

    repository: Repository
    commit: Commit
    desired: Desired
    host: ResolvedHost | None
    why: str

    def resources(self, call: Call) -> Iterator[Resource]:
        """What it wants of the host."""
        if self.host is not None:
            inputs = CommitTree.of(self.repository, self.commit.tree)
            for scope in self.desired.scopes([self.host.group]):
                yield from resources(call.installation.drivers, scope, inputs)


def ref_of(call: Call, text: str) -> Ref:
    """The host that `host/[TENANT/]NAME` means, of those that the caller sees. Raises `Refused`."""
    parts = (text if text.startswith("host/") else f"host/{text}").split("/")
    if len(parts) not in (2, 3) or not all(parts):
        raise Refused(f"{text} is not host/[tenant/]name", hint="for example host/web-01 or host/shop/web-01", code="usage")
    name = parts[-1]
    if len(parts) == 3:
        group = "/".join(parts)
        with call.installation.store.read() as connection:
            known = [source for source in locations(connection) if call.sight.sees(source, parts[1], group)]
        pictured = seen(call).sources_of(parts[1], name)
        found = [Ref(source=source, group=group) for source in pictured or known[:1]]
    else:
        found = [
            Ref(source=part.key[0], group=f"host/{part.key[1]}/{name}")
            for part in seen(call).parts()
            if part.hosts.at(name) is not None and call.sight.sees(*part.key, f"host/{part.key[1]}/{name}")
        ]
    if len(found) == 1:
        return found[0]
    if found:
        groups = sorted({one.group for one in found})
        raise Refused(f"there are several hosts {name}", hint=f"say which: {', '.join(map(_page, groups))}", code="ambiguous-ref")
    raise no_host(call, text)


class HostPlace(Document, frozen=True, kw_only=True):
    """Whose a host is."""

    ref: str
    source: str
    tenant: str
    name: str


def place_of(call: Call, ask: Ask) -> HostPlace:
    """The only host of this name that the caller sees."""
    del ask
    name = call.path["name"]
    if "/" in name:
        raise no_host(call, name)
    ref = ref_of(call, f"host/{name}")
    return HostPlace(ref=ref.group, source=ref.source, tenant=ref.tenant, name=name)


def no_host(call: Call, text: str) -> Refused:
    """There is none, or none that is seen; with some that are and have the like in their names."""
    said = text.removeprefix("host/")
    name = said.rpartition("/")[2]
    alike = [_page(f"host/{tenant}/{one}") for _, tenant, one, _ in islice(matching(seen(call), HostsAsk(text=name)), MOST)] if name else []
    hint = f"like it: {', '.join(alike)}; /search?q={quote(name, safe='')} finds more" if alike else "/hosts lists those that you may see"
    return Refused(f"there is no host {said}, or none that you may see", hint=hint, code="no-host")


def _page(group: str) -> str:
    return "/hosts/" + "/".join(quote(part, safe="") for part in group.split("/")[1:])


def wanted(call: Call, ref: Ref, rev: str = "") -> Wanted:
    """What a revision wants of a host, or the commit that its source applied last. Raises `OctofleetError`."""
    with call.installation.store.read() as connection:
        applied = applied_commit(connection, ref.source)
    if applied is None:
        raise no_host(call, ref.group)
    repository = call.installation.repository(applied[1], fetch=False)
    with told_in_sight(call.sight, ref.source, "the revision cannot be read"):
        commit = repository.commit(rev or applied[0])
        desired = compiled(call.installation, repository, commit)
    fleet = desired.fleet
    if fleet is not None and fleet.name != ref.source:
        raise Refused(f"{commit.id[:12]} is not of the Fleet {ref.source}", hint="name a commit of its repository", code="no-ref")
    host = desired.host(ref.group)
    return Wanted(repository=repository, commit=commit, desired=desired, host=host, why="" if host else _why(call, desired, ref))


def _why(call: Call, desired: Desired, ref: Ref) -> str:
    """Why there is no host. What blocks one may be told of in words that name others."""
    if ref.group not in desired.blocked:
        return "this commit does not have the host"
    if call.sight.whole(ref.source):
        return f"what is wanted is not known: {desired.blocked[ref.group]}"
    return "what is wanted is not known: something is wrong with the repository; octofleet validate says what"


def found_host(found: Wanted, ref: Ref) -> ResolvedHost:
    """The host. Raises `Refused` if the commit has none."""
    if found.host is None:
        code = "no-host" if ref.group not in found.desired.blocked else "desired-unknown"
        raise Refused(f"{ref.group} at {found.commit.id[:12]}: {found.why}", hint="look at another commit with rev", code=code)
    return found.host


@dataclass(frozen=True, kw_only=True)
class Shown:
    """Values as they are shown: secrets by type alone, and by name to who may know what they are called (`names`)."""

    names: bool

    @classmethod
    def to(cls, call: Call, ref: Ref) -> "Shown":
        """To whoever asks about a host."""
        return cls(names=call.may(Action.READ_SECRET_NAMES, ref.source, ref.tenant))

    def of(self, value: object) -> Any:
        """A tree for JSON."""
        if isinstance(value, Secret):
            return redacted(value) if self.names else {"secret": "***"}
        if isinstance(value, dict):
            if is_secret(value):
                return {"secret": "vault value"} if "secretRef" not in value else {"secretRef": value["secretRef"] if self.names else "***"}
            return {key: self.of(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.of(item) for item in value]
        return redacted(value) if isinstance(value, KnownAfter) else value


def reason_of(error: OctofleetError) -> str:
    """Why what is wanted cannot be told, in words that name nothing of the repository."""
    return f"what is wanted cannot be read ({error.code})"
