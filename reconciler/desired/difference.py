"""What one tree declares otherwise than the compiled one, and which hosts that reaches. Reads only files that differ."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from reconciler.desired.catalog import CHOOSING, input_of
from reconciler.desired.contribution import Reader, SourceFile
from reconciler.desired.declared import Members, places
from reconciler.desired.foreign import IGNORE_FILE, Ignored, Owner, Owners, projects
from reconciler.desired.manifest import Manifest, Parsed
from reconciler.desired.packed import pack_parsed, unpack_parsed
from reconciler.errors import InputError
from reconciler.index.state import Place, State
from reconciler.types.origin import Origin
from reconciler.types.problem import Problem

CONTENT = "path:"
"""Begins the name of an input that is a file or directory of the commit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """A path that differs between two trees, with what stood and stands there; neither, if the path cannot hold manifests."""

    path: str
    before: SourceFile | None = None
    after: SourceFile | None = None


class Tree(Protocol):
    """The files of one commit."""

    @property
    def id(self) -> str:
        """Names the whole content."""

    def files(self, below: str = "") -> Iterable[SourceFile]:
        """Every file that may hold manifests, sorted by path; of one directory or of all."""

    def blob(self, blob: str) -> bytes:
        """The bytes of a blob."""

    def content(self, path: str) -> str | None:
        """The id of what is at a path, or None."""

    def kind(self, path: str) -> str | None:
        """What is at a path: `blob`, `tree`, `link` or `module`, or None."""

    def changed(self, before: str) -> Iterable[Changed]:
        """What differs from the tree of that id. Raises `Permanent` if there is no such tree any more."""

    def at(self, tree: str) -> "Tree":
        """Another tree of the same repository."""


@dataclass(kw_only=True)
class Difference:
    """`gone` and `come`: places that declare something in one tree only. `bad`: packed contribution of files with problems, None: no more.
    `names`: inputs that mean something else now. `direct`: hosts declared otherwise; `sets`: HostSets; `sides`: all other manifests that differ, before
    and after, by identity.
    """

    gone: set[Place] = field(default_factory=set)
    come: dict[str, list[tuple[Place, Manifest]]] = field(default_factory=dict)
    bad: dict[str, bytes | None] = field(default_factory=dict)
    projects: dict[str, list[tuple[str, Owner]]] = field(default_factory=dict)
    owners: Owners = field(default_factory=lambda: Owners(()))
    names: set[str] = field(default_factory=set)
    direct: set[str] = field(default_factory=set)
    sets: set[str] = field(default_factory=set)
    sides: dict[str, tuple[list[Manifest], list[Manifest]]] = field(default_factory=dict)

    @property
    def empty(self) -> bool:
        """Whether the two trees mean the same."""
        return not (self.gone or self.come or self.bad or self.names)

    def places_of(self, prefix: str) -> list[str]:
        """The identities beginning so that are declared otherwise, or at another place."""
        return sorted(key for key in {*self.come, *(place.ref for place in self.gone)} if key.startswith(prefix))


def owners_of(state: State) -> Owners:
    """The Ansible projects of the compiled tree."""
    return Owners(_project_rows(state))


def _project_rows(state: State) -> list[tuple[str, Owner]]:
    return [(directory, Owner(path=path, line=line, number=number, key=ref)) for directory, path, number, line, ref in state.projects()]


def ignored(tree: Tree) -> Ignored:
    """The paths that the tree's ignore file names. Raises `InputError` if it is there and cannot be read: then it is unknown what the others are."""
    kind, blob = tree.kind(IGNORE_FILE), tree.content(IGNORE_FILE)
    if kind is None or blob is None:
        return Ignored("")
    try:
        if kind == "blob":
            return Ignored(tree.blob(blob).decode())
        what = {"tree": "it is a directory", "link": "it is a symbolic link"}.get(kind, "it is a submodule")
    except UnicodeDecodeError:
        what = "it is not UTF-8"
    hint = "make it a text file with one pattern a line, or remove it"
    problem = Problem(origin=Origin(path=IGNORE_FILE), code="ignore-file", message=f"the ignore file cannot be read: {what}", hint=hint)
    raise InputError([problem])


def difference(state: State, tree: Tree, reader: Reader) -> Difference | None:
    """From the compiled tree to another; None if everything has to be looked at. Raises `Permanent` if the compiled tree is not there any more."""
    if state.tree == tree.id:
        return Difference(owners=owners_of(state))
    changed = list(tree.changed(state.tree))
    if any(item.path == IGNORE_FILE for item in changed):
        return None
    left_out = ignored(tree)
    files = {item.path: (item.before, item.after) for item in changed if (item.before or item.after) and item.path not in left_out}
    found = Difference(names=set(_content(changed)))
    before, after = _owners(state, reader, files, found)
    found.owners = after
    for path, sides in _reowned(state, tree, files, before, after).items():
        if path not in left_out:
            files[path] = sides
    members = Members(reader)
    known_bad = state.bad()
    for path, (old, new) in sorted(files.items()):
        was = reader.of(old, before) if old else Parsed()
        now = reader.of(new, after) if new else Parsed()
        _compare(found, was, now, old, new, members)
        if path in known_bad or now.problems or now.unknown or now.broken:
            found.bad[path] = pack_parsed(now) if now.problems or now.unknown or now.broken else None
    _judge(found)
    found.names.update(_unknown_names(known_bad, found.bad))
    return found


def _content(changed: Iterable[Changed]) -> Iterator[str]:
    """Every file and every directory in which something differs, as names of inputs."""
    for item in changed:
        path = item.path
        while path:
            yield CONTENT + path
            path = path.rpartition("/")[0]
        yield CONTENT


Files = dict[str, tuple[SourceFile | None, SourceFile | None]]


def _owners(state: State, reader: Reader, files: Files, found: Difference) -> tuple[Owners, Owners]:
    rows = _project_rows(state)
    named = {owner.path for _, owner in rows}
    for path, (_, new) in files.items():
        now = list(projects(reader.raw(new))) if new is not None and not reader.only_hosts(new) else []
        if now or path in named:
            found.projects[path] = now
    kept = [row for row in rows if row[1].path not in found.projects]
    return Owners(rows), Owners([*kept, *(row for added in found.projects.values() for row in added)])


def _reowned(state: State, tree: Tree, files: Files, before: Owners, after: Owners) -> Files:
    """Files that have not changed but belong to another project now, or to none."""
    directories = {*before.directories, *after.directories}
    moved = [directory for directory in directories if directory and before.directories.get(directory) != after.directories.get(directory)]
    found: Files = {}
    for directory in moved:
        for old in tree.at(state.tree).files(directory):
            found[old.path] = (old, files.get(old.path, (None, None))[1])
        for new in tree.files(directory):
            found[new.path] = (found.get(new.path, files.get(new.path, (None, None)))[0], new)
    return found


def _compare(found: Difference, was: Parsed, now: Parsed, old: SourceFile | None, new: SourceFile | None, members: Members) -> None:
    before = dict(places(was, old.blob_id, members)) if old else {}
    after = dict(places(now, new.blob_id, members)) if new else {}
    found.gone.update(place for place in before if place not in after)
    for place, manifest in after.items():
        if place not in before:
            found.come.setdefault(place.ref, []).append((place, manifest))
    left: dict[str, list[Manifest]] = {}
    for place, manifest in before.items():
        left.setdefault(place.ref, []).append(manifest)
    for place, manifest in after.items():
        same = next((item for item in left.get(place.ref, ()) if item.says_the_same(manifest)), None)
        if same is not None:
            left[place.ref].remove(same)
        else:
            _note(found, manifest, came=True)
    for manifests in left.values():
        for manifest in manifests:
            _note(found, manifest, came=False)


def _note(found: Difference, manifest: Manifest, *, came: bool) -> None:
    """Something is declared that was not, or no more: what that means for others is judged when both sides are known."""
    if manifest.kind == "Host":
        found.direct.add(manifest.key)
    elif manifest.kind == "HostSet":
        found.sets.add(manifest.key)
    else:
        found.sides.setdefault(manifest.key, ([], []))[came].append(manifest)


def _judge(found: Difference) -> None:
    """Which inputs mean something else now."""
    for was, now in found.sides.values():
        sample = (now or was)[0]
        if _meaning(was) != _meaning(now):
            found.names.add("fleet" if sample.kind == "Fleet" else input_of(sample.kind, sample.name))
        if sample.kind == "Role" and _matches(was) != _matches(now):
            found.names.add(CHOOSING)


def _matches(roles: Sequence[Manifest]) -> list[object]:
    return [role.spec["match"] for role in roles if "match" in role.spec]


def _meaning(manifests: Sequence[Manifest]) -> list[object]:
    """What of a manifest reaches hosts: of a Fleet or Tenant its defaults alone."""
    return [m.spec.get("defaults", {}) if m.kind in ("Fleet", "Tenant") else m.spec for m in manifests]


def _unknown_names(before: Mapping[str, bytes], changed: Mapping[str, bytes | None]) -> Iterator[str]:
    """The names of documents that were wrong and are not, or the other way round."""
    for path, body in changed.items():
        was = unpack_parsed(path, before[path]).unknown if path in before else ()
        now = unpack_parsed(path, body).unknown if body is not None else ()
        for kind, _, name in {*was} ^ {*now}:
            yield input_of(kind, name)
