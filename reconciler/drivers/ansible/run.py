"""One run of `ansible-playbook` through ansible-runner: a private directory, a small environment, a real end.

In: a `Job` (an exported project, an inventory, what to pass) and where events go. Out: how the run ended. The program's environment is
made here and nothing of ours reaches it but PATH, HOME and (without a key file) the agent's socket: the server's own variables may hold
secrets. The user's and the project's `ansible.cfg` are not read, their callbacks and variable plugins not loaded. Must not: import
`ansible` (GPL), put a secret into an argument or the environment, or leave a process or a directory behind.
"""

import json
import os
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any
from uuid import uuid4

from reconciler.drivers.ansible.process import MARK, kill_run, kill_users_of
from reconciler.errors import Permanent
from reconciler.types.values import SecretValue

PROGRAM = "ansible-playbook"
POLL_S = 0.2
SOCKET_ROOM = 55
"""What must be left of a Unix socket's 107 bytes for ssh's own name in the control directory."""
VARIABLES = ("group_vars", "host_vars")
"""Ansible reads these beside the inventory too: there stand links to those of the project, where the playbook is deeper in it."""
UNWANTED_PLUGINS = ("callback_plugins", "vars_plugins")

FORKS = 10
ALIVE = "-o ServerAliveInterval=15 -o ServerAliveCountMax=4"
"""A host that goes silent during a task is unreachable after a minute, and holds the others no longer. What the settings say goes first."""
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

OnEvent = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class AnsibleSettings:
    """The server's settings, never Git's. Host keys are always checked: against `known_hosts_file`, else against ssh's own files; before these against
    `pinned_hosts_file`, which a run makes of what installers told.

    `timeout_s`: the longest one run may take. `ssh_common_args`: for a jump host and the like; the user's ssh configuration is not read. `forks`: hosts
    at once, 0: as many as this machine can. `tenants`: who may be run so. `keep`: which results of tasks are told one by one, `changes` or `all`.
    """

    private_key_file: Path | None = None
    known_hosts_file: Path | None = None
    pinned_hosts_file: Path | None = None
    user: str = ""
    forks: int = 0
    timeout_s: float = 600.0
    ssh_common_args: str = ""
    strategy: str = "linear"
    tenants: tuple[str, ...] = ("*",)
    keep: str = "changes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One run. `directory` is its private directory, with the project in `project/`; `playbook` is a path in the project, or a playbook of a
    collection. `passwords`: of the vault ids that the project needs, by name. `gather`: at the end, ask those hosts for facts that were not asked before.
    `installed`: the project's requirements, in `collections` and `roles`.

    All that a run reads is below `directory`, but for the key and known hosts of the settings, and `installed`: `project/`, `inventory.json`,
    `fixed.json`, `ansible.cfg`, `env/settings`, `pinned_hosts`, `vault/NUMBER` (`vault_files`), and `group_vars` and `host_vars`, which are links
    into `project/`.
    """

    directory: Path
    playbook: str
    inventory: Mapping[str, Any]
    check: bool
    tags: tuple[str, ...] = ()
    become: bool = False
    passwords: Mapping[str, SecretValue] = field(default_factory=dict)
    gather: bool = False
    installed: Path | None = None

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


class End(StrEnum):
    """How the run as a whole ended; what became of each host is in the events."""

    FINISHED = "finished"
    BROKEN = "broken"
    CANCELLED = "cancelled"
    TIMEOUT = "timeout"


def find_program() -> str:
    """The path of `ansible-playbook`: beside this Python, else on PATH. Raises Permanent with the way to install it."""
    beside = Path(sys.executable).parent / PROGRAM
    found = str(beside) if os.access(beside, os.X_OK) else shutil.which(PROGRAM)
    if found is None:
        raise _not_installed(f"the program {PROGRAM} is not installed")
    return found


def _not_installed(message: str) -> Permanent:
    return Permanent(message, hint="pip install 'octofleet[ansible]'", code="ansible-missing")


@contextmanager
def private_directory(scratch: Path) -> Iterator[Path]:
    """A directory for one run that only we can read. It is gone afterwards, the file with revealed secrets first."""
    try:
        directory = Path(tempfile.mkdtemp(prefix="ansible-", dir=scratch))
        for name in ("tmp", "home", "env", "vault"):
            (directory / name).mkdir(mode=0o700)
    except OSError as error:
        raise Permanent(f"cannot make a private directory for Ansible in {scratch}: {error}", hint="free some space there") from error
    try:
        yield directory
    finally:
        (directory / "inventory.json").unlink(missing_ok=True)
        shutil.rmtree(directory / "vault", ignore_errors=True)
        shutil.rmtree(directory, ignore_errors=True)


def play(job: Job, settings: AnsibleSettings, on_event: OnEvent, *, until: float, cancelled: Callable[[], bool]) -> End:
    """Run the playbook to its end, to `until` (`time.monotonic()` seconds) or until cancelled. No process is left behind in any case."""
    with _control_directory(job.directory) as control:
        mark = uuid4().hex
        try:
            return _play(job, settings, on_event, _Watch(until=until, cancelled=cancelled, mark=mark), control)
        finally:
            kill_run(mark)
            kill_users_of(control)


def _play(job: Job, settings: AnsibleSettings, on_event: OnEvent, watch: "_Watch", control: Path) -> End:
    try:
        from ansible_runner.config.runner import RunnerConfig  # type: ignore[import-untyped]  # noqa: PLC0415 - an optional extra
        from ansible_runner.runner import Runner  # type: ignore[import-untyped]  # noqa: PLC0415
        from ansible_runner.utils import get_callback_dir  # type: ignore[import-untyped]  # noqa: PLC0415
    except ImportError as error:
        raise _not_installed("the Python package ansible-runner is not installed") from error
    program = find_program()
    _write_files(job, settings)
    config = RunnerConfig(private_data_dir=str(job.directory), playbook=str(job.wrapper), quiet=True, suppress_env_files=True)
    config.prepare()
    # ansible-runner starts from all of os.environ and finds the program by PATH: both are replaced by what we mean.
    config.env = environment(job, settings, program, control) | {
        MARK: watch.mark,
        "AWX_ISOLATED_DATA_DIR": config.artifact_dir,
        "ANSIBLE_CALLBACK_PLUGINS": get_callback_dir(),
        "ANSIBLE_STDOUT_CALLBACK": "awx_display",
    }
    # Without a terminal to read from, `vars_prompt` and `pause` go on instead of waiting for ever.
    config.command = ["/bin/sh", "-c", 'umask 077; exec "$0" "$@" </dev/null', program, *arguments(job)]
    runner = Runner(config, event_handler=watch.hearing(on_event), cancel_callback=watch)
    runner.run()
    if watch.error is not None:
        raise watch.error
    if watch.ended is not None:
        return watch.ended
    return End.FINISHED if runner.rc in (0, 2, 4, 6) else End.BROKEN


@dataclass(kw_only=True)
class _Watch:
    """Asked five times a second whether to stop. It kills the whole tree first: workers have sessions of their own."""

    until: float
    cancelled: Callable[[], bool]
    mark: str
    ended: End | None = None
    error: OSError | None = None

    def hearing(self, on_event: OnEvent) -> Callable[[Mapping[str, Any]], bool]:
        """For ansible-runner, which would swallow an OSError and the event with it, and keeps the events for which it is told True."""

        def hear(event: Mapping[str, Any]) -> bool:
            try:
                on_event(event)
            except OSError as error:
                self.error, self.ended = error, End.BROKEN
            return False

        return hear

    def __call__(self) -> bool:
        if self.ended is None:
            self.ended = End.TIMEOUT if time.monotonic() > self.until else End.CANCELLED if self.cancelled() else None
        if self.ended is not None:
            kill_run(self.mark)
        return self.ended is not None


@contextmanager
def _control_directory(directory: Path) -> Iterator[Path]:
    """Where ssh keeps its sockets: a Unix socket's path has 107 bytes, and the scratch directory may lie deep."""
    if len(os.fsencode(directory)) + SOCKET_ROOM < 107:
        inside = directory / "cp"
        inside.mkdir(mode=0o700)
        yield inside
        return
    with tempfile.TemporaryDirectory(prefix="of-cp-") as short:
        yield Path(short)


def _write_files(job: Job, settings: AnsibleSettings) -> None:
    """Everything that the run reads besides the project, for our eyes only."""
    for name in UNWANTED_PLUGINS:
        for found in sorted(job.project.rglob(name)):
            _remove(found)
    _write(job.wrapper, json.dumps([{"import_playbook": Path(job.playbook).name}, last_play(job)]))
    _write(job.directory / "ansible.cfg", "")
    _write(job.directory / "env" / "settings", json.dumps({"pexpect_timeout": POLL_S, "suppress_output_file": True}))
    _write(job.directory / "inventory.json", json.dumps(job.inventory, ensure_ascii=False))
    _write(job.directory / "fixed.json", json.dumps(fixed_variables(settings)))
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


def arguments(job: Job) -> list[str]:
    """What follows the program's name. `--limit all` keeps plays on the implicit localhost from running on the server."""
    flags = ["--diff", "--limit", "all", "-i", str(job.directory / "inventory.json"), "-e", f"@{job.directory / 'fixed.json'}"]
    if job.check:
        flags += ["--check", "-v"]  # -v: the only way to learn why a task was skipped
    if job.tags:
        flags += ["--tags", ",".join(job.tags)]
    if job.become:
        flags.append("--become")
    for name, path in job.vault_files.items():
        flags += ["--vault-id", f"{name}@{path}"]
    return [*flags, str(job.wrapper.relative_to(job.project))]


def fixed_variables(settings: AnsibleSettings) -> dict[str, Any]:
    """How host keys are checked. Nothing in Git overrides it: Ansible ranks these highest, and ssh obeys the first of equal options."""
    checks = ("ansible_host_key_checking", "ansible_ssh_host_key_checking", "ansible_paramiko_host_key_checking")
    return {"ansible_ssh_args": ssh_arguments(settings)} | dict.fromkeys(checks, True)


def ssh_arguments(settings: AnsibleSettings) -> str:
    """ssh's options, as one shell-quoted text (ssh_config(5))."""
    options = ["-F", "none", "-o", "StrictHostKeyChecking=yes", "-o", "ControlMaster=auto", "-o", "ControlPersist=60s"]
    known = [f'"{settings.known_hosts_file.absolute()}"'] if settings.known_hosts_file is not None else []
    if settings.pinned_hosts_file is not None:
        known = [f'"{settings.pinned_hosts_file}"', *(known or ["~/.ssh/known_hosts", "~/.ssh/known_hosts2"])]
    if known:
        options += ["-o", f"UserKnownHostsFile={' '.join(known)}"]
    if settings.known_hosts_file is not None:
        options += ["-o", "GlobalKnownHostsFile=/dev/null"]
    return shlex.join(options)


def pinned_lines(variables: Mapping[str, Any], keys: Sequence[str]) -> list[str]:
    """Lines of known_hosts (sshd(8)) for a host that is reached as its variables say, and has these keys."""
    place, port = str(variables["ansible_host"]), str(variables.get("ansible_port", 22))
    name = place if port == "22" else f"[{place}]:{port}"
    return [f"{name} {' '.join(key.split()[:2])}" for key in keys]


def environment(job: Job, settings: AnsibleSettings, program: str, control: Path) -> dict[str, str]:
    """The whole environment of the program, the same for every run but for its directory."""
    project = job.project
    roles, collections = ([project / name, *([job.installed / name] if job.installed else [])] for name in ("roles", "collections"))
    env = {
        "PATH": f"{Path(program).parent}:{os.environ.get('PATH', os.defpath)}",
        "HOME": os.environ.get("HOME") or str(Path.home()),
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "ANSIBLE_CONFIG": str(job.directory / "ansible.cfg"),
        "ANSIBLE_HOME": str(job.directory / "home"),
        "ANSIBLE_LOCAL_TEMP": str(job.directory / "tmp"),
        "ANSIBLE_ROLES_PATH": ":".join([*map(str, roles), "/usr/share/ansible/roles", "/etc/ansible/roles"]),
        "ANSIBLE_COLLECTIONS_PATH": ":".join([*map(str, collections), "/usr/share/ansible/collections"]),
        "PYTHONDONTWRITEBYTECODE": "1",  # what is installed is compared with its checksums at the next use
        "ANSIBLE_INVENTORY_ENABLED": "yaml",
        "ANSIBLE_FORKS": str(settings.forks or FORKS),
        "ANSIBLE_STRATEGY": settings.strategy,
        "ANSIBLE_TIMEOUT": "10",
        "ANSIBLE_PIPELINING": "1",
        "ANSIBLE_SSH_CONTROL_PATH_DIR": str(control),
        "ANSIBLE_SSH_ARGS": ssh_arguments(settings),
        "ANSIBLE_SSH_COMMON_ARGS": f"{settings.ssh_common_args} {ALIVE}".strip(),
        "ANSIBLE_HOST_KEY_CHECKING": "1",
        "ANSIBLE_PYTHON_INTERPRETER": "auto_silent",
        "ANSIBLE_NO_TARGET_SYSLOG": "1",  # modules would log their arguments on the host, secrets included
        "ANSIBLE_CHECK_MODE_MARKERS": "1",  # how events.py tells a task that really runs in check mode
        "ANSIBLE_DISPLAY_ARGS_TO_STDOUT": "0",
        "ANSIBLE_RETRY_FILES_ENABLED": "0",
        "ANSIBLE_DEPRECATION_WARNINGS": "0",
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_NOCOWS": "1",
    }
    if settings.private_key_file is not None:
        env["ANSIBLE_PRIVATE_KEY_FILE"] = str(settings.private_key_file.absolute())
    elif "SSH_AUTH_SOCK" in os.environ:
        env["SSH_AUTH_SOCK"] = os.environ["SSH_AUTH_SOCK"]
    return env
