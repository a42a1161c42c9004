"""What a Role has Ansible run: a playbook, roles, or a playbook of a collection, from the repository or from another one at a commit; or a workflow of AWX.

In: `spec.ansible` of a Role, and a resource's specification made of it. Out: that specification (pure: nothing is fetched for it), why it
cannot run, and, in a run's directory, the project with the playbook to start.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from reconciler.drivers.driver import Inputs
from reconciler.errors import Permanent
from reconciler.types.canonical import canonical
from reconciler.types.values import Spec

OWN_PLAYBOOK = ".octofleet-roles.yml"
"""The playbook that Octofleet writes for `roles`, at the top of the project."""
WHAT = ("playbook", "roles", "collectionPlaybook", "workflow")

Export = Callable[[str, Path], None]
ExportFrom = Callable[[str, str, str, Path], None]


def project_spec(ansible: Spec, inputs: Inputs) -> dict[str, Any]:
    """What of a resource's specification says what is run. `content` is the Git id of the project, None if it or the playbook is not there; for another
    repository its URL and commit stand in its place. Of a workflow, what it runs is AWX's business."""
    if "workflow" in ansible:
        return {"workflow": ansible["workflow"]}
    playbook = ansible.get("playbook")
    project = ansible.get("project") or (_directory(playbook) if playbook else "")
    spec = {name: ansible[name] for name in WHAT if name in ansible} | {"project": project}
    if "repository" in ansible:
        return spec | {"repository": dict(ansible["repository"])}
    there = playbook is None or inputs.content(playbook) is not None
    return spec | {"content": inputs.content(project) if there else None}


def same_project(spec: Spec) -> tuple[object, ...]:
    """Equal for resources that run the same of the same files."""
    said = {name: spec[name] for name in (*WHAT, "project", "content", "repository") if name in spec}
    return (canonical(said),)


def title(spec: Spec) -> str:
    """What is run, for people."""
    if "roles" in spec:
        return "the roles " + ", ".join(role["name"] for role in spec["roles"])
    if "workflow" in spec:
        return f"the workflow {spec['workflow']}"
    return str(spec.get("playbook") or spec.get("collectionPlaybook", ""))


def refusal(spec: Spec, *, by_awx: bool) -> tuple[str, str] | None:
    """Why it cannot run, by AWX or on this machine, as far as its specification tells: a code and a reason."""
    if "workflow" in spec:
        return None if by_awx else ("workflow-unknown", f"{title(spec)} is of AWX: set ansibleProvider to a provider of type awx")
    if by_awx and "playbook" not in spec:
        instead = "lists them" if "roles" in spec else f"has `import_playbook: {title(spec)}`"
        return "playbook-missing", f"AWX runs playbooks of a repository alone: name one with `playbook` that {instead}"
    playbook, project = spec.get("playbook"), spec["project"]
    if "repository" not in spec and spec["content"] is None:
        what = f"the playbook {playbook} or its project {project or '.'}" if playbook else f"the project {project or '.'}"
        return "playbook-missing", f"{what} is not in the repository"
    if playbook and _inside(playbook, project) is None:
        return "playbook-missing", f"the playbook {playbook} is not below its project {project}"
    return None


def export_project(spec: Spec, into: Path, export: Export, export_from: ExportFrom) -> str:
    """Write the project into a directory; gives the playbook to start, as a path in it or the name of a collection's. Raises `Permanent` if there is none,
    and what the two exports raise."""
    if "repository" in spec:
        export_from(spec["repository"]["url"], spec["repository"]["commit"], spec["project"], into)
    else:
        export(spec["content"], into)
    if "roles" in spec:
        play = {"name": title(spec), "hosts": "all", "roles": [{"role": role["name"], **_vars(role)} for role in spec["roles"]]}
        return _own_playbook(into, json.dumps([play]))
    if "collectionPlaybook" in spec:
        return str(spec["collectionPlaybook"])
    playbook = _inside(spec["playbook"], spec["project"]) or ""
    if not (into / playbook).is_file():
        where = spec["repository"]["commit"][:10] if "repository" in spec else "this commit"
        raise Permanent(f"the playbook {spec['playbook']} is not there at {where}", hint="correct its path", code="playbook-missing")
    return playbook


def _own_playbook(into: Path, text: str) -> str:
    """Written where nothing is: what the project has there may be a directory, or a link to anywhere in it."""
    try:
        with (into / OWN_PLAYBOOK).open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        hint = "remove it from the project, or give it another name"
        message = f"the project has a {OWN_PLAYBOOK}, where Octofleet writes the playbook of `roles`"
        raise Permanent(message, hint=hint, code="playbook-in-the-way") from error
    except OSError as error:
        raise Permanent(f"cannot write {OWN_PLAYBOOK} for Ansible: {error.strerror}", hint="free some space there") from error
    return OWN_PLAYBOOK


def _vars(role: Mapping[str, Any]) -> dict[str, Any]:
    return {"vars": role["vars"]} if role.get("vars") else {}


def _directory(playbook: str) -> str:
    """The directory of a path in the repository; the repository itself is the empty path."""
    parent = str(PurePosixPath(playbook).parent)
    return "" if parent == "." else parent


def _inside(playbook: str, project: str) -> str | None:
    """The playbook's path in its project, or None if it is not below it."""
    path, root = PurePosixPath(playbook), PurePosixPath(project)
    return str(path.relative_to(root)) if path.is_relative_to(root) and ".." not in path.parts else None
