"""YAML files of a repository that are no manifests: what `.octofleetignore` names, and the projects of Ansible. Pure.

Every other YAML file is read as manifests, so that a misspelt one is a problem and never silently absent.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from reconciler.desired.manifest import Manifest, Parsed, show
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


def project_of(ansible: Mapping[str, str]) -> str:
    """The directory that a Role's playbook uses: `project`, else the directory of the playbook (empty for the repository's root)."""
    parent = str(PurePosixPath(ansible["playbook"]).parent)
    return ansible.get("project", "" if parent == "." else parent).strip("/")


def without_projects(files: Mapping[str, Parsed]) -> Iterator[Parsed]:
    """The files, those below the project of a Role without their problems; a manifest among them is a problem of its own."""
    projects: dict[str, Manifest] = {}
    for parsed in files.values():
        for manifest in parsed.manifests:
            if manifest.kind == "Role" and "ansible" in manifest.spec:
                projects.setdefault(project_of(manifest.spec["ansible"]), manifest)
    for path, parsed in files.items():
        owner = next((projects[str(parent)] for parent in PurePosixPath(path).parents if str(parent) in projects), None)
        yield parsed if owner is None else _foreign(parsed, owner)


def _foreign(parsed: Parsed, owner: Manifest) -> Parsed:
    problems = tuple(
        Problem(
            origin=manifest.origin,
            code="manifest-in-project",
            message=f"{manifest} stands in the Ansible project of {show(owner.ref)} ({owner.origin})",
            hint="move the manifest out of it, or give the playbook a directory of its own",
        )
        for manifest in parsed.manifests
    )
    return replace(parsed, problems=problems, unknown=tuple(manifest.ref for manifest in parsed.manifests), manifests=(), broken=False)
