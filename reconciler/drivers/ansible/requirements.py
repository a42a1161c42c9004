"""The requirements files of a project: which collections and roles it needs, each pinned. Pure but for reading the project's files.

Follows docs.ansible.com, "Installing collections" and "Installing multiple roles from a file" (requirements.yml). Stricter than Ansible: an
entry names an exact version, a commit, or an artifact of the repository, so that the same files always mean the same content. Must not:
fetch anything.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Any

from reconciler.desired.reader import positions, read
from reconciler.errors import Permanent
from reconciler.types.origin import Origin

FILES: Mapping[str, str] = {"requirements.yml": "", "collections/requirements.yml": "collections", "roles/requirements.yml": "roles"}
"""Where a project says what it needs; the last two of one kind alone."""
MOST_ENTRIES = 500
MOST_BYTES = 1 << 20
MOST_TOLD = 5
CODE = "requirements-refused"

_EXACT = re.compile(r"(?:==)?(\d+\.\d+\.\d+(?:[-+][0-9A-Za-z.+-]+)?)")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_COLLECTION = re.compile(r"[a-z_][a-z0-9_]*\.[a-z_][a-z0-9_]*")
_ROLE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_KEYS = {"collections": {"name", "version", "source", "type"}, "roles": {"name", "version", "src", "scm"}}


class How(StrEnum):
    """Where an entry comes from."""

    GALAXY = "galaxy"
    GIT = "git"
    FILE = "file"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One requirement of a `kind` (`collections`, `roles`). `version`: exact, a commit for git, empty for a file. `source`: a Galaxy server (or empty), or a
    git URL. `path`: the artifact in the project, or the directory in the git repository."""

    kind: str
    how: How
    name: str
    origin: Origin
    version: str = ""
    source: str = ""
    path: str = ""


class _Wrong(Exception):
    """Why an entry is refused, and what to write."""


def requirements(project: Path, told_as: str) -> tuple[Entry, ...]:
    """What an exported project needs. `told_as`: its path in the repository, for messages. Raises `Permanent` with every entry that is not pinned, by file and
    line."""
    entries: list[Entry] = []
    wrong: list[str] = []
    for name, only in FILES.items():
        file = project / name
        if file.is_symlink() or not file.is_file():
            continue
        path = str(PurePosixPath(told_as) / name)
        for item in _of_file(path, file, only):
            (wrong if isinstance(item, str) else entries).append(item)  # type: ignore[arg-type]
    for entry in entries:
        wrong += _missing(entry, project)
    wrong += _twice(entries)
    if wrong:
        more = f"; and {len(wrong) - MOST_TOLD:,} more" if len(wrong) > MOST_TOLD else ""
        raise Permanent("; ".join(wrong[:MOST_TOLD]) + more, hint="pin every requirement (docs/playbooks.md)", code=CODE)
    return tuple(entries)


def _of_file(path: str, file: Path, only: str) -> Iterator[Entry | str]:
    if file.stat().st_size > MOST_BYTES:
        yield f"{path} is larger than {MOST_BYTES:,} bytes"
        return
    data = file.read_bytes()
    reading = read(path, data)
    yield from map(str, reading.problems)
    marks = positions(path, data)
    for document in reading.documents:
        rows = list(_rows(document.value, only))
        if not rows or len(rows) > MOST_ENTRIES:
            yield f"{path} must hold `collections:` or `roles:`, lists of at most {MOST_ENTRIES} entries"
        for kind, pointer, value in rows[:MOST_ENTRIES]:
            origin = marks.origin(document.index, pointer)
            try:
                if kind not in _KEYS or (only and kind != only):
                    raise _Wrong(f"{kind} is nothing that is required here; write it as an entry of {only or 'collections or roles'}")
                yield (_collection if kind == "collections" else _role)(value, origin)
            except _Wrong as error:
                yield f"{origin}: {error}"


def _rows(value: Any, only: str) -> Iterator[tuple[str, str, Any]]:
    """Kind, JSON pointer and value of every entry. A list alone holds roles, the older form."""
    parts: dict[str, tuple[str, Any]] = {}
    if isinstance(value, list):
        parts = {only or "roles": ("", value)}
    elif isinstance(value, dict):
        parts = {str(key): (f"/{key}", part) for key, part in value.items()}
    for kind, (pointer, part) in parts.items():
        if isinstance(part, list):
            yield from ((kind, f"{pointer}/{number}", item) for number, item in enumerate(part))
        elif part is not None:
            yield kind, pointer, part


def _fields(value: object, kind: str) -> dict[str, str]:
    if isinstance(value, str):
        name, _, version = value.partition(":") if "://" not in value and "@" not in value else (value, "", "")
        return {"name" if kind == "collections" else "src": name, "version": version}
    if not isinstance(value, dict):
        raise _Wrong("an entry is a name or a mapping")
    unknown = sorted(map(str, value.keys() - _KEYS[kind]))
    if unknown:
        raise _Wrong(f"the key {unknown[0]} is not taken; write {', '.join(sorted(_KEYS[kind]))} alone")
    if any(not isinstance(item, str) for item in value.values()):
        raise _Wrong('every value is text: quote a version, as in version: "1.2.3"')
    return {"name": "", "version": "", **{str(key): str(item) for key, item in value.items()}}


def _collection(value: Any, origin: Origin) -> Entry:
    said = _fields(value, "collections")
    name, version, source = said["name"], said["version"], said.get("source", "")
    kind = said.get("type") or _kind_of(name)
    if kind == "file":
        return Entry(kind="collections", how=How.FILE, name=name, path=_artifact(name), origin=origin)
    if kind == "git":
        whole = (source or name).removeprefix("git+")
        whole, _, inline = whole.rpartition(",") if "," in whole else (whole, "", "")
        url, _, rest = whole.partition("#")
        return Entry(
            kind="collections",
            how=How.GIT,
            name=name,
            source=url,
            path=_directory(rest.strip("/")),
            version=_commit(version or inline),
            origin=origin,
        )
    if kind != "galaxy":
        hint = (
            "put it into collections/ansible_collections/NAMESPACE/NAME of the project"
            if kind in ("dir", "subdirs")
            else "commit the artifact"
        )
        raise _Wrong(f"a collection of the type {kind} is not pinned; {hint}")
    if not _COLLECTION.fullmatch(name):
        raise _Wrong(f"{name[:80]!r} is no NAMESPACE.COLLECTION")
    exact = _EXACT.fullmatch(version)
    if exact is None:
        raise _Wrong(f'the collection {name} is not pinned; write an exact version, as in version: "1.2.3"')
    return Entry(kind="collections", how=How.GALAXY, name=name, version=exact[1], source=source, origin=origin)


def _kind_of(name: str) -> str:
    if name.startswith(("git+", "git@")):
        return "git"
    if "://" in name:
        return "url"
    return "file" if name.endswith(".tar.gz") else "galaxy"


def _role(value: Any, origin: Origin) -> Entry:
    said = _fields(value, "roles")
    source = said.get("src") or said.get("name", "")
    name = said.get("name", "") if said.get("src") else ""
    is_git = said.get("scm") == "git" or source.startswith(("git+", "git@")) or source.endswith(".git")
    url = source.removeprefix("git+")
    name = name or re.sub(r"(\.git|\.tar\.gz)$", "", url.rstrip("/").rpartition("/")[2])
    if not _ROLE.fullmatch(name):
        raise _Wrong(f"{name[:80]!r} is no name of a role; write name: NAME")
    if is_git:
        return Entry(kind="roles", how=How.GIT, name=name, source=url, version=_commit(said["version"]), origin=origin)
    if "://" not in source and source.endswith(".tar.gz"):
        return Entry(kind="roles", how=How.FILE, name=name, path=_artifact(source), origin=origin)
    raise _Wrong(
        f"the role {name} is not pinned, for what it names may change; write src: URL, scm: git and version: COMMIT, or commit its archive"
    )


def _commit(version: str) -> str:
    if not _COMMIT.fullmatch(version):
        raise _Wrong(f"{version[:80] or 'no version'} may change; write version: with the whole id of a commit, 40 hexadecimal digits")
    return version


def _directory(path: str) -> str:
    if any(part in ("", ".", "..") for part in path.split("/")) and path:
        raise _Wrong(f"{path[:80]!r} is no directory of the repository")
    return path


def _artifact(path: str) -> str:
    parts = PurePosixPath(path)
    if parts.is_absolute() or ".." in parts.parts:
        raise _Wrong(f"{path[:80]!r} is not in the project; write a path from the project's directory")
    return str(parts)


def _missing(entry: Entry, project: Path) -> Iterator[str]:
    if entry.how is How.FILE:
        file = project / entry.path
        if not file.is_file() or not file.resolve().is_relative_to(project.resolve()):
            yield f"{entry.origin}: the project has no file {entry.path}; write its path from the project's directory"


def _twice(entries: list[Entry]) -> Iterator[str]:
    first: dict[tuple[str, str], Entry] = {}
    for entry in entries:
        other = first.setdefault((entry.kind, entry.name), entry)
        same = (entry.how, entry.version, entry.source, entry.path) == (other.how, other.version, other.source, other.path)
        if not same:
            yield f"{entry.origin}: {entry.name} is required otherwise at {other.origin}; write it once"
