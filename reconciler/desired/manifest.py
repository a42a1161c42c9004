"""One manifest, and the mapping of one file to manifests. Pure: bytes in, manifests and problems out."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from reconciler.desired.reader import Document, locate, read
from reconciler.types.origin import Origin
from reconciler.types.problem import Problem
from reconciler.types.resource import OnDelete
from reconciler.types.values import Spec

Ref = tuple[str, str, str]
"""Kind, tenant (empty for what all tenants share) and name."""

Check = Callable[[str, Any], Iterable[tuple[str, str]]]
"""Given a kind and a document: pointer and message of everything that its schema refuses."""


FOREIGN_HINT = "if this file is for another program, name it or its directory in .octofleetignore"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A checked manifest. `own` lists where in the document its specification stands, with what stands there: a member of a HostSet has the
    template first and then its own part, every other manifest just `/spec`. `places` says where its name and labels stand (by `/name`,
    `/labels/KEY`), as far as that is not in its metadata. `secrets`: whether its file may hold references to secrets.
    """

    kind: str
    tenant: str
    name: str
    spec: Spec
    path: str
    index: int
    line: int
    labels: Mapping[str, str] = field(default_factory=dict)
    on_delete: OnDelete = OnDelete.DELETE
    moved_from: tuple[str, str] | None = None
    own: tuple[tuple[str, Spec], ...] = ()
    places: Mapping[str, str] = field(default_factory=dict)
    secrets: bool = True

    def pointer(self, key: str) -> str:
        """Where in the document a key of the specification stands: in the last part that has it."""
        return next((f"{pointer}/{key}" for pointer, spec in reversed(self.own) if key in spec), "")

    @property
    def ref(self) -> Ref:
        """Its identity."""
        return self.kind, self.tenant, self.name

    @property
    def origin(self) -> Origin:
        """Where it begins."""
        return Origin(path=self.path, line=self.line, column=1)

    @property
    def key(self) -> str:
        """Its identity as text: for a host, the group of its resources."""
        return show(self.ref)

    def says_the_same(self, other: "Manifest") -> bool:
        """Whether two manifests differ in nothing but where they stand."""
        return all(getattr(self, name) == getattr(other, name) for name in _MEANING)

    def __str__(self) -> str:
        return self.key


_MEANING = ("kind", "tenant", "name", "spec", "labels", "on_delete", "moved_from", "own")


def show(ref: Ref) -> str:
    """A reference as people write it: `host/shop/web-01`, `profile/base`."""
    kind, tenant, name = ref
    return "/".join(filter(None, (kind.lower(), tenant, name)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """What one file holds. `unknown` names documents that are there but wrong; `broken` says that some of the file could not be read;
    `mentioned` are then the names in it, so that a reference to one of them is not called missing.
    """

    manifests: tuple[Manifest, ...] = ()
    problems: tuple[Problem, ...] = ()
    unknown: tuple[Ref, ...] = ()
    broken: bool = False
    mentioned: frozenset[str] = frozenset()


ANY = "*"
"""The name of what may be any of a kind."""
_NAME = re.compile(rb"\bname:\s*[\"']?([a-z0-9][-a-z0-9]*)")


def parse(path: str, data: bytes, kinds: Mapping[str, str | None], check: Check) -> Parsed:
    """The manifests of one file. `kinds` maps each known kind to None, or to the reason why it is refused."""
    reading = read(path, data)
    manifests, problems = [], list(reading.problems)
    unknown: list[Ref] = []
    secrets = b"secretRef" in data or b"!vault" in data or b"\\" in data
    for document in reading.documents:
        found = _problems(document, data, kinds, check)
        if found:
            problems += found
            unknown += _identities(document.value)
        else:
            manifests.append(_manifest(document, secrets))
    mentioned = frozenset(name.decode() for name in _NAME.findall(data)) if reading.broken else frozenset()
    mentioned |= {ANY} if reading.broken and b"match" in data else set()
    return Parsed(manifests=tuple(manifests), problems=tuple(problems), unknown=tuple(unknown), broken=reading.broken, mentioned=mentioned)


def _problems(document: Document, data: bytes, kinds: Mapping[str, str | None], check: Check) -> list[Problem]:
    def at(pointer: str, code: str, message: str, hint: str = "") -> Problem:
        return Problem(origin=locate(document.path, data, document.index, pointer), code=code, message=message, hint=hint)

    value = document.value
    if not isinstance(value, dict):
        return [at("", "manifest-shape", "a manifest is a map with apiVersion, kind, metadata and spec", FOREIGN_HINT)]
    kind = value.get("kind")
    if value.get("apiVersion") != "octofleet/v1":
        hint = "begin the document with apiVersion: octofleet/v1" if "kind" in value else FOREIGN_HINT
        return [at("/apiVersion", "manifest-api-version", "apiVersion must be octofleet/v1", hint)]
    if not isinstance(kind, str) or kind not in kinds:
        known = ", ".join(sorted(name for name, reason in kinds.items() if reason is None))
        return [at("/kind", "manifest-kind", f"there is no kind {kind!r}", f"kinds: {known}")]
    if kinds[kind] is not None:
        return [
            at(
                "/kind",
                "manifest-kind-planned",
                f"the kind {kind} is not accepted yet: it will describe {kinds[kind]}",
                "remove this document",
            )
        ]
    return [at(pointer, "schema", message) for pointer, message in check(kind, value)]


def _identities(value: Any) -> Iterator[Ref]:
    """As much of a wrong document's identity as can be told; empty strings for the rest. A Role that chooses its hosts may be any host's."""

    def text(tree: Any, key: str) -> str:
        found = tree.get(key) if isinstance(tree, dict) else None
        return found if isinstance(found, str) else ""

    metadata = value.get("metadata") if isinstance(value, dict) else None
    kind, tenant = text(value, "kind"), text(metadata, "tenant")
    yield kind, tenant, text(metadata, "name")
    spec = value.get("spec") if isinstance(value, dict) else None
    if kind == "Role" and isinstance(spec, dict) and "match" in spec:
        yield kind, tenant, ANY


def _manifest(document: Document, secrets: bool) -> Manifest:
    metadata, spec = document.value["metadata"], document.value.get("spec") or {}
    tenant = metadata.get("tenant", "")
    moved = metadata.get("moved", {}).get("from")
    return Manifest(
        kind=document.value["kind"],
        tenant=tenant,
        name=metadata["name"],
        spec=spec,
        own=(("/spec", spec),),
        path=document.path,
        index=document.index,
        line=document.line,
        labels=metadata.get("labels") or {},
        on_delete=OnDelete(metadata.get("onDelete", "delete")),
        moved_from=moved_from(moved, tenant) if moved else None,
        secrets=secrets,
    )


def moved_from(text: str, tenant: str) -> tuple[str, str]:
    """The tenant and name that `[tenant/]name` says."""
    before, slash, name = text.rpartition("/")
    return (before, name) if slash else (tenant, name)
