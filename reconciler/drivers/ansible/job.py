"""What one run of a playbook is about, and the private directory in which all is that it reads.

Callbacks and variable plugins of the project are taken out of it. Must not: let anybody else read the directory, or leave it behind.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reconciler.drivers.ansible.galaxy import Installed
from reconciler.errors import Permanent
from reconciler.trees import remove
from reconciler.types.values import SecretValue

PRIVATE, EVENTS = ("tmp", "home"), "events/job_events"
VARIABLES = ("group_vars", "host_vars")
"""Ansible reads these beside the inventory too: there stand links to those of the project, where the playbook is deeper in it."""
UNWANTED_PLUGINS = ("callback_plugins", "vars_plugins")
LAST_PLAY: dict[str, Any] = {
    "hosts": "all",
    "gather_facts": False,
    "tags": "always",
    "tasks": [{"name": "tell who came to the end", "ansible.builtin.debug": {"msg": "{{ ansible_play_batch }}"}, "run_once": True}],
}
"""Hosts that failed, and those that `any_errors_fatal` took down with them (of which no event tells), do not get to a later play."""

GATHER = {
    "name": "gather facts",
    "ansible.builtin.setup": {"gather_subset": ["!all", "!facter", "!ohai", "hardware", "network", "virtual"], "gather_timeout": 10},
    "when": "ansible_facts.kernel is not defined or ansible_facts.interfaces is not defined",
    "ignore_errors": True,
    "ignore_unreachable": True,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One run. `directory` is its private directory, with the project in `project/`; `playbook` is a path in the project, or a playbook of a
    collection. `passwords`: of the vault ids that the project needs, by name. `gather`: at the end, ask those hosts for facts that were not asked before.
    `pinned`: lines of known_hosts, of what installers told. `installed`: the project's requirements.

    All that a run reads is below `directory`, but for the key and known hosts of the settings, and `installed`: `project/`, `inventory.json`,
    `fixed.json`, `ansible.cfg`, `pinned_hosts`, `vault/NUMBER` (`vault_files`), and `group_vars` and `host_vars`, which are links into `project/`.
    """

    directory: Path
    playbook: str
    inventory: Mapping[str, Any]
    check: bool
    tags: tuple[str, ...] = ()
    become: bool = False
    passwords: Mapping[str, SecretValue] = field(default_factory=dict)
    gather: bool = False
    pinned: tuple[str, ...] = ()
    installed: Installed | None = None

    @property
    def hosts(self) -> int:
        """How many hosts the inventory has, over all of its groups."""
        return len({host for group in self.inventory.values() for host in group.get("hosts", ())})

    @property
    def readable(self) -> tuple[Path, ...]:
        """Files and directories of this machine that it needs besides its own directory."""
        return () if self.installed is None else (self.installed.directory,)

    @property
    def pinned_file(self) -> Path | None:
        """Where the lines of `pinned` are, if there are any."""
        return self.directory / "pinned_hosts" if self.pinned else None

    @property
    def events(self) -> Path:
        """Where the run's events are until they are read."""
        return self.directory / EVENTS

    @property
    def project(self) -> Path:
        """Where the project was exported to."""
        return self.directory / "project"

    @property
    def vault_files(self) -> dict[str, Path]:
        """Where the run finds the password of each of these ids."""
        return {name: self.directory / "vault" / str(number) for number, name in enumerate(sorted(self.passwords))}

    @property
    def wrapper(self) -> Path:
        """The playbook that is run: the project's, and after it a play that tells which hosts came to the end.

        It stands beside the project's, so that everything that Ansible finds beside a playbook is found.
        """
        return (self.project / self.playbook).with_name(f".octofleet-{self.directory.name}.yml")


@contextmanager
def private_directory(scratch: Path) -> Iterator[Path]:
    """A directory for one run that only we can read. It is gone afterwards, the file with revealed secrets first."""
    try:
        directory = Path(tempfile.mkdtemp(prefix="ansible-", dir=scratch))
        for name in (*PRIVATE, "vault", "events", EVENTS):
            (directory / name).mkdir(mode=0o700)
    except OSError as error:
        raise Permanent(f"cannot make a private directory for Ansible in {scratch}: {error}", hint="free some space there") from error
    try:
        yield directory
    finally:
        for path in (directory / "inventory.json", directory / "vault", directory):
            remove(path)


def write_files(job: Job, fixed: Mapping[str, Any]) -> None:
    """Everything that the run reads besides the project, for our eyes only. `fixed`: variables that nothing overrides. Raises Permanent."""
    for name in UNWANTED_PLUGINS:
        for found in sorted(job.project.rglob(name)):
            _remove(found)
    _write(job.wrapper, json.dumps([{"import_playbook": Path(job.playbook).name}, last_play(job)]))
    _write(job.directory / "ansible.cfg", "")
    _write(job.directory / "inventory.json", json.dumps(job.inventory, ensure_ascii=False))
    _write(job.directory / "fixed.json", json.dumps(fixed))
    if job.pinned_file is not None:
        _write(job.pinned_file, "\n".join(job.pinned) + "\n")
    for name, path in job.vault_files.items():
        _write(path, job.passwords[name].reveal())
    for name in VARIABLES:
        if job.wrapper.parent != job.project and (job.project / name).is_dir():
            (job.directory / name).symlink_to(Path("project", name))


def last_play(job: Job) -> dict[str, Any]:
    """The play after the project's. What is asked of hosts there comes after it is told who came to the end, and changes nothing of that."""
    return LAST_PLAY | {"tasks": [*LAST_PLAY["tasks"], GATHER]} if job.gather else LAST_PLAY


def _remove(found: Path) -> None:
    if found.is_dir() and not found.is_symlink():
        shutil.rmtree(found)
    else:
        found.unlink(missing_ok=True)


def _write(path: Path, text: str) -> None:
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
    except OSError as error:
        raise Permanent(f"cannot write {path.name} for Ansible: {error}", hint="free some space there") from error
