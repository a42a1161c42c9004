"""One run of `ansible-playbook`, told by ansible-runner's events: a private directory, a small environment, a real end.

In: a `Job` (an exported project, an inventory, what to pass) and where events go. Out: how the run ended. The program's environment is
made here and nothing of ours reaches it but PATH, HOME and (without a key file) the agent's socket: the server's own variables may hold
secrets. The user's and the project's `ansible.cfg` are not read, their callbacks and variable plugins not loaded. Must not: import
`ansible` (GPL), put a secret into an argument or the environment, or leave a process or a directory behind.
"""

import json
import os
import pwd
import select
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reconciler.drivers.ansible.isolation import Sight, isolated
from reconciler.drivers.ansible.process import Command, started
from reconciler.drivers.ansible.strategy import forks, strategy_plugins
from reconciler.drivers.ansible.stream import Endless, OnEvent, Stream, not_installed
from reconciler.errors import Permanent
from reconciler.types.values import SecretValue

if TYPE_CHECKING:
    from subprocess import Popen

PROGRAM = "ansible-playbook"
POLL_S = 0.2
READ_BYTES = 1 << 16
LOOKS = 25
SPACE_BYTES = 2 << 30
"""How much of the disk a run may take; looked at with every 25th look whether to stop."""
PRIVATE, EVENTS = ("tmp", "home"), "events/job_events"
SOCKET_ROOM = 55
"""What must be left of a Unix socket's 107 bytes for ssh's own name in the control directory."""
VARIABLES = ("group_vars", "host_vars")
"""Ansible reads these beside the inventory too: there stand links to those of the project, where the playbook is deeper in it."""
UNWANTED_PLUGINS = ("callback_plugins", "vars_plugins")

DEFAULT_KEYS = ("rsa", "ecdsa", "ecdsa_sk", "ed25519", "ed25519_sk", "dsa")
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


@dataclass(frozen=True, slots=True, kw_only=True)
class AnsibleSettings:
    """The server's settings, never Git's. Host keys are always checked: against `known_hosts_file`, else against ssh's own files; before these against
    `pinned_hosts_file`, which a run makes of what installers told.

    `timeout_s`: the longest one run may take. `ssh_common_args`: for a jump host and the like; the user's ssh configuration is not read. `forks`: hosts
    at once, 0: as many as this machine has room for. `tenants`: who may be run so. `keep`: which results of tasks are told one by one, `changes` or `all`.
    `tenant_keys`: the keys of single tenants, in place of the one of all. `isolation`: auto, required or off; `visible`: what an isolated run may see and
    change of this machine besides its own.
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
    tenant_keys: Mapping[str, Path] = field(default_factory=dict)
    isolation: str = "auto"
    visible: tuple[Path, ...] = ()

    def of(self, tenant: str) -> "AnsibleSettings":
        """The settings for a tenant's hosts."""
        return replace(self, private_key_file=self.tenant_keys.get(tenant, self.private_key_file), tenant_keys={})


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One run. `directory` is its private directory, with the project in `project/`; `playbook` is a path in the project, or a playbook of a
    collection. `passwords`: of the vault ids that the project needs, by name. `gather`: at the end, ask those hosts for facts that were not asked before.
    `installed`: the project's requirements, in `collections` and `roles`.

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
    installed: Path | None = None

    @property
    def hosts(self) -> int:
        """How many hosts the inventory has, over all of its groups."""
        return len({host for group in self.inventory.values() for host in group.get("hosts", ())})

    @property
    def readable(self) -> tuple[Path, ...]:
        """Files and directories of this machine that it needs besides its own directory."""
        return () if self.installed is None else (self.installed,)

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


class End(StrEnum):
    """How the run as a whole ended; what became of each host is in the events."""

    FINISHED = "finished"
    BROKEN = "broken"
    FULL = "full"
    CANCELLED = "cancelled"
    TIMEOUT = "timeout"


def find_program() -> str:
    """The path of `ansible-playbook`: beside this Python, else on PATH. Raises Permanent with the way to install it."""
    beside = Path(sys.executable).parent / PROGRAM
    found = str(beside) if os.access(beside, os.X_OK) else shutil.which(PROGRAM)
    if found is None:
        raise not_installed(f"the program {PROGRAM} is not installed")
    return found


def callback_plugins() -> str:
    """Where ansible-runner's plugin is that tells of events."""
    from ansible_runner.utils import get_callback_dir  # type: ignore[import-untyped]  # noqa: PLC0415 - an optional extra

    return str(get_callback_dir())


def sight(job: Job, settings: AnsibleSettings, env: Mapping[str, str]) -> Sight:
    """What a run sees of this machine besides the system: its directory, of which it may change the project and what is temporary, and how it gets
    to its hosts."""
    homes = [Path(env["HOME"])]
    with suppress(KeyError):  # ssh looks here, whatever HOME says
        homes.append(Path(pwd.getpwuid(os.getuid()).pw_dir))
    keys = [settings.private_key_file] if settings.private_key_file else _in_ssh(homes, *(f"id_{kind}" for kind in DEFAULT_KEYS))
    known = [settings.known_hosts_file] if settings.known_hosts_file else _in_ssh(homes, "known_hosts", "known_hosts2")
    agent = [Path(env["SSH_AUTH_SOCK"])] if "SSH_AUTH_SOCK" in env else []
    plugins = [Path(env[name]) for name in ("ANSIBLE_CALLBACK_PLUGINS", "ANSIBLE_STRATEGY_PLUGINS") if name in env]
    own = tuple(job.directory / name for name in (*PRIVATE, "project", EVENTS))
    return Sight(
        homes=tuple(homes),
        readable=(*plugins, *keys, *known, *agent, *job.readable, job.directory),
        writable=(*own, *(path for path in settings.visible if path.exists())),
    )


def _in_ssh(homes: Sequence[Path], *names: str) -> list[Path]:
    return [home / ".ssh" / name for home in homes for name in names]


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
        (directory / "inventory.json").unlink(missing_ok=True)
        shutil.rmtree(directory / "vault", ignore_errors=True)
        shutil.rmtree(directory, ignore_errors=True)


def play(job: Job, settings: AnsibleSettings, on_event: OnEvent, *, until: float, cancelled: Callable[[], bool]) -> End:
    """Run the playbook to its end, to `until` (`time.monotonic()` seconds) or until cancelled. No process is left behind in any case."""
    stream = Stream(job.events, on_event)
    program = find_program()
    plugins = strategy_plugins(settings.strategy)
    alone = isolated(settings.isolation)
    _write_files(job, settings)
    with _control_directory(job.directory, alone=alone) as control:
        env = environment(job, settings, program, control) | {
            "AWX_ISOLATED_DATA_DIR": str(job.events.parent),
            "ANSIBLE_CALLBACK_PLUGINS": callback_plugins(),
            "ANSIBLE_STDOUT_CALLBACK": "awx_display",
            **({"ANSIBLE_STRATEGY_PLUGINS": str(plugins)} if plugins else {}),
        }
        command = Command(
            line=[program, *arguments(job)],
            environment=env,
            directory=job.project,
            control=control,
            sight=sight(job, settings, env) if alone else None,
        )
        with started(command) as process:
            return _follow(process, stream, _Watch(until=until, cancelled=cancelled, directory=job.directory))


def _follow(process: "Popen[bytes]", stream: Stream, watch: "_Watch") -> End:
    """Read what the program says until it has ended, or has to."""
    output, waiting = process.stdout.fileno() if process.stdout else -1, select.poll()
    waiting.register(output, select.POLLIN)
    looked = 0.0
    while True:
        gone = process.poll() is not None
        ready = waiting.poll(0 if gone else POLL_S * 1000)
        data = os.read(output, READ_BYTES) if ready else b""
        if (ready or gone) and not data:
            break
        try:
            stream.feed(data)
        except Endless:
            return End.BROKEN
        if time.monotonic() - looked > POLL_S:
            looked = time.monotonic()
            if (end := watch()) is not None:
                return end
    stream.close()
    return End.FINISHED if process.wait() in (0, 2, 4, 6) else End.BROKEN


@dataclass(kw_only=True)
class _Watch:
    """Asked five times a second whether to stop; now and then it looks how much the run has written."""

    until: float
    cancelled: Callable[[], bool]
    directory: Path
    looks: int = 0

    def __call__(self) -> End | None:
        self.looks += 1
        if time.monotonic() > self.until:
            return End.TIMEOUT
        if self.cancelled():
            return End.CANCELLED
        return End.FULL if self.looks % LOOKS == 0 and _written(self.directory) > SPACE_BYTES else None


def _written(directory: Path) -> int:
    """How many bytes of the disk a directory takes. What vanishes meanwhile is nothing."""
    found = 0
    for where, _, names in os.walk(directory):
        for name in names:
            with suppress(OSError):
                found += os.lstat(os.path.join(where, name)).st_blocks * 512  # noqa: PTH118 - as os.walk tells it
    return found


@contextmanager
def _control_directory(directory: Path, *, alone: bool) -> Iterator[Path]:
    """Where ssh keeps its sockets: a Unix socket's path has 107 bytes, and the scratch directory may lie deep. In isolation /tmp is the run's own."""
    if alone:
        yield Path("/tmp/cp")  # noqa: S108
        return
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
        "ANSIBLE_FORKS": str(forks(settings.forks, job.hosts)),
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
