"""What ansible-lint says of what a commit changes in Ansible projects: warnings at lines of the repository. The edge around `drivers.ansible.lint`.

A project is looked at when the commit changes anything in it. Told are findings at lines that the commit brings, for these are what its
reviewers can ask for; what stood there before is not told again. Findings are kept by what they were made of, so that the same project is
looked at once.
"""

import os
import time
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher

import msgspec

from reconciler.desired.desired import Desired
from reconciler.desired.foreign import project_of
from reconciler.drivers.ansible import lint
from reconciler.drivers.ansible.galaxy import galaxy_of
from reconciler.errors import OctofleetError
from reconciler.events import happened
from reconciler.files import private_directory, replace_file
from reconciler.source.repository import WORKING_COPY, Commit, Repository
from reconciler.trees import temporary_directory
from reconciler.types.canonical import digest
from reconciler.types.origin import Origin
from reconciler.types.problem import Problem, Severity
from reconciler.wiring import Installation

MOST_PROJECTS = 20
"""So many are looked at for one commit."""
MOST_LINES = 3_000
"""In longer files every line counts as changed: comparing them would take too long."""
KEPT = 500
"""Projects whose findings are kept."""
INSTALL_S = 120.0


def lint_problems(installation: Installation, repository: Repository, desired: Desired, base: Commit, commit: Commit) -> list[Problem]:
    """Warnings about what a commit changes, against its base; none where ansible-lint is missing. Never raises for what the projects hold."""
    if lint.missing() or commit.id.startswith(WORKING_COPY):
        return []
    found: list[Problem] = []
    for number, (project, before, after) in enumerate(_changed_projects(repository, desired, base, commit)):
        if number == MOST_PROJECTS:
            text = f"only {MOST_PROJECTS} of the Ansible projects that this changes were looked at by ansible-lint"
            found.append(Problem(origin=Origin(path=project), code="lint", message=text, severity=Severity.WARNING))
            break
        try:
            findings = _findings(installation, repository, project, after)
        except (OctofleetError, OSError) as error:
            happened("lint-failed", project=project, why=str(error))
            continue
        lines = _ChangedLines(repository, before, after)
        found += [_problem(project, one) for one in findings if not one.path or lines.has(one.path, one.line)]
    return sorted(found)


def _changed_projects(repository: Repository, desired: Desired, base: Commit, commit: Commit) -> Iterator[tuple[str, str | None, str]]:
    """Projects of this repository, with the ids of their trees before and now."""
    said = (role.spec["ansible"] for role in desired.catalog.of("Role") if "ansible" in role.spec)
    for project in sorted({where for ansible in said if (where := project_of(ansible)) is not None}):
        before, after = (repository.entry(one.tree, project) for one in (base, commit))
        if after is not None and after[0] == "tree" and before != after:
            yield project, before[1] if before is not None and before[0] == "tree" else None, after[1]


def _problem(project: str, one: lint.Finding) -> Problem:
    path = "/".join(filter(None, (project, one.path)))
    origin = Origin(path=path, line=one.line, column=one.column if one.line else 0)
    return Problem(origin=origin, code="lint", message=f"{one.rule}: {one.text}", severity=Severity.WARNING)


def _findings(installation: Installation, repository: Repository, project: str, tree: str) -> Sequence[lint.Finding]:
    """Kept ones, or new ones."""
    kept = private_directory(installation.data_dir / "lint")
    file = kept / f"{digest([tree, lint.version()])}.json"
    try:
        found = msgspec.json.decode(file.read_bytes(), type=list[lint.Finding])
        os.utime(file)
        return found
    except (OSError, msgspec.MsgspecError):
        found = _look(installation, repository, project, tree)
    replace_file(file, msgspec.json.encode(found), mode=0o600)
    for old in sorted(kept.glob("*.json"), key=lambda path: path.stat().st_mtime, reverse=True)[KEPT:]:
        old.unlink(missing_ok=True)
    return found


def _look(installation: Installation, repository: Repository, project: str, tree: str) -> list[lint.Finding]:
    with temporary_directory(f"{os.getpid()}-lint-", private_directory(installation.data_dir / "scratch")) as directory:
        into = directory / "project"
        repository.export(tree, "", into)
        installed = None
        try:
            galaxy = galaxy_of(installation.data_dir, installation.settings.ansible.galaxy)
            made = galaxy.installed(into, project, installation.pinned.export, until=time.monotonic() + INSTALL_S)
            installed = made.directory if made else None
        except OctofleetError as error:
            happened("lint-failed", project=project, why=f"looked at without its requirements: {error.message}")
        return lint.lint(into, installed)


class _ChangedLines:
    """The lines of a project's files that differ from those before."""

    def __init__(self, repository: Repository, before: str | None, after: str) -> None:
        self._repository, self._before, self._after = repository, before, after
        self._lines: dict[str, frozenset[int] | None] = {}

    def has(self, path: str, line: int) -> bool:
        """Whether a line is new; line 0 if any is."""
        if path not in self._lines:
            self._lines[path] = self._of(path)
        lines = self._lines[path]
        return lines is None or line in lines or (line == 0 and bool(lines))

    def _of(self, path: str) -> frozenset[int] | None:
        """None: all."""
        was, now = (self._text(tree, path) for tree in (self._before, self._after))
        if was is None or now is None or max(len(was), len(now)) > MOST_LINES:
            return None
        blocks = SequenceMatcher(None, was, now, autojunk=False).get_opcodes()
        return frozenset(line for tag, _, _, first, end in blocks if tag != "equal" for line in range(first + 1, end + 1))

    def _text(self, tree: str | None, path: str) -> list[bytes] | None:
        entry = self._repository.entry(tree, path) if tree is not None else None
        return self._repository.blob(entry[1]).splitlines() if entry is not None and entry[0] == "blob" else None
