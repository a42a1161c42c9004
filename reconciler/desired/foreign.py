"""YAML files of a repository that are no manifests: what `.octofleetignore` names, and the projects of Ansible. Pure.

Every other YAML file is read as manifests, so that a misspelt one is a problem and never silently absent.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Any

from reconciler.desired.manifest import Parsed
from reconciler.types.problem import Problem

IGNORE_FILE = ".octofleetignore"


@dataclass(frozen=True, slots=True)
class Ignored:
    """The paths that a text names: one pattern a line, `#` begins a comment.

    `docs/` is a directory with all below it, `*.tmpl.yaml` a pattern over whole paths.
    """

    text: str

    def __contains__(self, path: object) -> bool:
        return any(_matches(str(path), pattern) for line in self.text.splitlines() if (pattern := line.partition("#")[0].strip()))


def _matches(path: str, pattern: str) -> bool:
    pattern = pattern.removeprefix("/")
    if pattern.endswith("/"):
        return any(fnmatchcase(str(parent), pattern[:-1]) for parent in PurePosixPath(path).parents)
    return fnmatchcase(path, pattern)


def project_of(ansible: Mapping[str, Any]) -> str | None:
    """The directory of this repository that a Role's playbook or roles use: `project`, else the directory of the playbook (empty for the repository's root).
    None for what is in another repository, or in AWX."""
    if "repository" in ansible or "workflow" in ansible:
        return None
    parent = str(PurePosixPath(ansible.get("playbook", "")).parent)
    return str(ansible.get("project", "" if parent == "." else parent)).strip("/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """A Role that names a project directory: its identity as text and where it stands."""

    path: str
    line: int
    number: int
    key: str


class Owners:
    """Which Role's Ansible project a file belongs to, if to any: the Role that comes first among those that name the directory."""

    def __init__(self, rows: Iterable[tuple[str, Owner]]) -> None:
        found: dict[str, Owner] = {}
        for directory, owner in sorted(rows, key=lambda row: (row[1].path, row[1].number)):
            found.setdefault(directory, owner)
        self.directories: Mapping[str, Owner] = found

    def __bool__(self) -> bool:
        return bool(self.directories)

    def of(self, path: str) -> Owner | None:
        """The owner of the nearest project directory above a path."""
        while path := path.rpartition("/")[0]:
            if path in self.directories:
                return self.directories[path]
        return None


def projects(parsed: Parsed) -> Iterator[tuple[str, Owner]]:
    """The project directories that a file's Roles and Operations name."""
    for manifest in parsed.manifests:
        uses = manifest.spec.get("ansible") if manifest.kind in ("Role", "Operation") else None
        directory = project_of(uses) if uses else None
        if directory is not None:
            owner = Owner(path=manifest.path, line=manifest.line, number=manifest.index, key=manifest.key)
            yield directory, owner


def owner_rows(owners: Iterable[tuple[str, Owner]]) -> Iterator[tuple[str, int, int, str]]:
    """As the index keeps them: directory, document number, line, Role."""
    return ((directory, owner.number, owner.line, owner.key) for directory, owner in owners)


def foreign(parsed: Parsed, owner: Owner) -> Parsed:
    """What a file below a project contributes: no problems of its own, and a problem for every manifest in it."""
    problems = tuple(
        Problem(
            origin=manifest.origin,
            code="manifest-in-project",
            message=f"{manifest} stands in the Ansible project of {owner.key} ({owner.path}:{owner.line}:1)",
            hint="move the manifest out of it, or give the playbook a directory of its own",
        )
        for manifest in parsed.manifests
    )
    return replace(parsed, problems=problems, unknown=tuple(manifest.ref for manifest in parsed.manifests), manifests=(), broken=False)
