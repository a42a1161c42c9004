"""Which plays of a playbook target a host, and which roles they take; read for `octofleet explain`. What is templated is noted as unread."""

import posixpath
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import count
from typing import Any

from reconciler.drivers.ansible.tree import ProjectTree, Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Play:
    """One play that may target the host. `base`: the playbook's directory; `pointer`: the play in its file; `number` from 1, through all files."""

    base: str
    source: Source
    pointer: str
    spec: dict[str, Any]
    number: int


def plays(project: ProjectTree, playbook: str, names: Collection[str]) -> Iterator[Play]:
    """The plays of a playbook, and of those that it imports, whose `hosts:` names one of a host's names (its own and its groups')."""
    yield from _plays(project, posixpath.normpath(playbook), names, count(1), set())


def _plays(project: ProjectTree, playbook: str, names: Collection[str], numbers: Iterator[int], seen: set[str]) -> Iterator[Play]:
    if playbook in seen:
        return
    seen.add(playbook)
    for source in project.file(playbook):
        listed = source.document.value
        if not isinstance(listed, list):
            project.unread[playbook] = "it is not a list of plays"
            continue
        for index, spec in enumerate(listed):
            if not isinstance(spec, dict):
                continue
            imported = spec.get("import_playbook") or spec.get("ansible.builtin.import_playbook")
            base = posixpath.dirname(playbook)
            if isinstance(imported, str) and not _templated(project, playbook, imported):
                yield from _plays(project, posixpath.normpath(posixpath.join(base, imported)), names, numbers, seen)
            elif imported is None:
                number = next(numbers)
                if targeted(spec.get("hosts"), names):
                    yield Play(base=base, source=source, pointer=f"/{index}", spec=spec, number=number)


def targeted(pattern: object, names: Collection[str]) -> bool:
    """Whether `hosts:` means a host with these names: unions, `:&`, `:!` and wildcards. What is templated, a slice or an expression may."""
    text = ",".join(map(str, pattern)) if isinstance(pattern, list) else str(pattern)
    if "{{" in text or "[" in text or "~" in text:
        return True
    parts = [part.strip() for part in re.split(r"[,:]", text) if part.strip()]
    hit = {part: any(fnmatchcase(name, part.lstrip("&!")) for name in names) for part in parts}
    plain = [hit[part] for part in parts if part[0] not in "&!"]
    return (
        (any(plain) or not plain) and all(hit[part] for part in parts if part[0] == "&") and not any(hit[p] for p in parts if p[0] == "!")
    )


def roles(project: ProjectTree, root: str, play: Play) -> list[str]:
    """The directories of the roles of a play, those that others depend on first."""
    found: list[str] = []
    places = (posixpath.join(play.base, "roles"), posixpath.join(root, "roles"), play.base)
    parts = ("pre_tasks", "tasks", "post_tasks")
    seen: set[str] = set()
    for item in [*_list(play.spec.get("roles")), *(item for part in parts for item in _imported(play.spec.get(part)))]:
        _role(project, places, item, found, seen)
    return found


def _role(project: ProjectTree, places: tuple[str, ...], item: object, found: list[str], seen: set[str]) -> None:
    name = (item.get("role") or item.get("name")) if isinstance(item, dict) else item
    if not isinstance(name, str) or _templated(project, f"the role {name}", name):
        return
    path = next((path for place in places if project.kind(path := posixpath.join(place, name)) == "tree"), None)
    if path is None:
        project.unread[f"the role {name}"] = "it is not in the repository"
        return
    if path in seen:
        return
    seen.add(path)
    for source in project.named(posixpath.join(path, "meta"), "main"):
        meta = source.document.value
        for needed in _list(meta.get("dependencies") if isinstance(meta, dict) else None):
            _role(project, places, needed, found, seen)
    found.append(path)


def _imported(tasks: object) -> Iterator[object]:
    """What `import_role` names in tasks and blocks: as a role of the play, it is known to all of it."""
    for task in _list(tasks):
        if isinstance(task, dict):
            yield from (task[key] for key in ("import_role", "ansible.builtin.import_role") if key in task)
            for part in ("block", "rescue", "always"):
                yield from _imported(task.get(part))


def _templated(project: ProjectTree, what: str, text: str) -> bool:
    if "{{" in text:
        project.unread[what] = f"{text} is known only to the run"
    return "{{" in text


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
