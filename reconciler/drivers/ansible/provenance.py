"""Where the value of a variable that a task sees comes from: the layers of a project's files around those of manifests.

In: a host, the use of a Role with a playbook, the variable, a commit's tree. Out: what each file says, lowest first, in the order that
docs/variables.md gives. Role defaults and `group_vars` are below the manifests, `host_vars`, plays and `vars` of roles above them. What only
a run knows (facts, `set_fact`, `include_vars`, variables of tasks and blocks) is not told.
"""

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass, field

from reconciler.desired.explain import Setting
from reconciler.desired.foreign import project_of
from reconciler.drivers.ansible.groups import priorities
from reconciler.drivers.ansible.inventory import GROUP, host_facts
from reconciler.drivers.ansible.plays import Play, plays, roles
from reconciler.drivers.ansible.project import title
from reconciler.drivers.ansible.tree import ProjectTree, Source
from reconciler.source.repository import Repository
from reconciler.types.host import ResolvedHost, RoleUse
from reconciler.types.pointer import escape


@dataclass(frozen=True, kw_only=True)
class Around:
    """What a Role's project says of a variable, below and above the manifests, lowest first. `unread`: files that may say something, and why they
    were not read."""

    below: list[Setting] = field(default_factory=list)
    above: list[Setting] = field(default_factory=list)
    unread: dict[str, str] = field(default_factory=dict)


def around(repository: Repository, tree: str, host: ResolvedHost, role: RoleUse, variable: list[str]) -> Around:
    """`variable`: its name, and the keys down to what is asked for; with no name, all variables."""
    if role.ansible is None:
        return Around()
    root, playbook = project_of(role.ansible), role.ansible.get("playbook")
    if root is None or not isinstance(playbook, str):
        why = "it is in another repository" if "repository" in role.ansible else "only the files around a playbook are read"
        return Around(unread={title(role.ansible): why})
    project = ProjectTree(repository=repository, tree=tree)
    ranked = {GROUP: 0, **priorities(host_facts(host))}
    groups = sorted(ranked, key=lambda name: (ranked[name], name))
    targeting = list(plays(project, playbook, {"all", host.name, *groups}))
    bases = list(dict.fromkeys([root, *(play.base for play in targeting)]))
    below: list[Setting] = []
    above: list[Setting] = []
    for play in targeting:
        for path in roles(project, root, play):
            below += _of(project.named(posixpath.join(path, "defaults"), "main"), "role defaults", variable)
    for names in (["all"], groups):
        for base in bases:
            for name in names:
                below += _of(project.named(posixpath.join(base, "group_vars"), name), f"group_vars/{name}", variable)
    for base in bases:
        above += _of(project.named(posixpath.join(base, "host_vars"), host.name), f"host_vars/{host.name}", variable)
    for play in targeting:
        above += _of_play(project, play, variable)
    for play in targeting:
        for path in roles(project, root, play):
            above += _of(project.named(posixpath.join(path, "vars"), "main"), "role vars", variable)
    return Around(below=_once(below), above=_once(above), unread=project.unread)


def _of_play(project: ProjectTree, play: Play, variable: list[str]) -> Iterator[Setting]:
    layer = f"vars of play {play.number}"
    yield from _say(play.source, f"{play.pointer}/vars", play.spec.get("vars"), layer, variable)
    for name in play.spec.get("vars_files") or ():
        if isinstance(name, str) and "{{" not in name:
            yield from _of(project.file(posixpath.join(play.base, name)), f"vars_files of play {play.number}", variable)
        else:
            project.unread[f"vars_files of play {play.number}"] = "which file it is, only the run knows"


def _of(sources: Iterator[Source], layer: str, variable: list[str]) -> Iterator[Setting]:
    for source in sources:
        yield from _say(source, "", source.document.value, layer, variable)


def _say(source: Source, pointer: str, values: object, layer: str, variable: list[str]) -> Iterator[Setting]:
    """What a map of variables says. A variable is replaced as a whole, so one without the key that is asked for says that it is not there."""
    node = values
    for depth, key in enumerate(variable):
        if not isinstance(node, dict) or key not in node:
            if depth:
                yield Setting(layer=f"{layer} (without {'.'.join(variable[depth:])})", origin=source.origin(pointer), value=node)
            return
        node, pointer = node[key], f"{pointer}/{escape(key)}"
    if variable or isinstance(node, dict):
        yield Setting(layer=layer, origin=source.origin(pointer), value=node)


def _once(found: list[Setting]) -> list[Setting]:
    """Each place once, where it was first: roles that several plays take."""
    return list({(setting.layer, setting.origin): setting for setting in found}.values())
