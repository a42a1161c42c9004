"""How `ansible-playbook` is called for a job: its arguments, its whole environment, and what it sees of this machine.

Nothing of ours is in its environment but PATH, HOME and (without a key file) the agent's socket: the server's own variables may hold secrets. The
user's and the project's `ansible.cfg` are not read. Pure but for looking where programs and keys are. Must not: put a secret into an argument or
the environment, or import `ansible` (GPL).
"""

import os
import pwd
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from reconciler.drivers.ansible.isolation import Sight
from reconciler.drivers.ansible.job import EVENTS, PRIVATE, Job
from reconciler.drivers.ansible.process import Command
from reconciler.drivers.ansible.programs import environment_of, needed
from reconciler.drivers.ansible.settings import AnsibleSettings
from reconciler.drivers.ansible.strategy import forks, strategy_plugins

PROGRAM = "ansible-playbook"
DEFAULT_KEYS = ("rsa", "ecdsa", "ecdsa_sk", "ed25519", "ed25519_sk", "dsa")
ALIVE = "-o ServerAliveInterval=15 -o ServerAliveCountMax=4"
"""A host that goes silent during a task is unreachable after a minute, and holds the others no longer. What the settings say goes first."""


def command_of(job: Job, settings: AnsibleSettings, control: Path, *, alone: bool) -> Command:
    """`control`: where ssh keeps its sockets; `alone`: in isolation. Raises Permanent where a program or a strategy is missing."""
    program, plugins = needed(PROGRAM), strategy_plugins(settings.strategy)
    env = environment(job, settings, program, control) | {
        "AWX_ISOLATED_DATA_DIR": str(job.events.parent),
        "ANSIBLE_CALLBACK_PLUGINS": callback_plugins(),
        "ANSIBLE_STDOUT_CALLBACK": "awx_display",
        **({"ANSIBLE_STRATEGY_PLUGINS": str(plugins)} if plugins else {}),
    }
    return Command(
        line=[program, *arguments(job)],
        environment=env,
        directory=job.project,
        control=control,
        sight=sight(job, settings, env) if alone else None,
    )


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


def fixed_variables(settings: AnsibleSettings, pinned: Path | None = None) -> dict[str, Any]:
    """How host keys are checked. Nothing in Git overrides it: Ansible ranks these highest, and ssh obeys the first of equal options."""
    checks = ("ansible_host_key_checking", "ansible_ssh_host_key_checking", "ansible_paramiko_host_key_checking")
    return {"ansible_ssh_args": ssh_arguments(settings, pinned)} | dict.fromkeys(checks, True)


def ssh_arguments(settings: AnsibleSettings, pinned: Path | None) -> str:
    """ssh's options, as one shell-quoted text (ssh_config(5)). `pinned`: known hosts that go before all others."""
    options = ["-F", "none", "-o", "StrictHostKeyChecking=yes", "-o", "ControlMaster=auto", "-o", "ControlPersist=60s"]
    known = [f'"{settings.known_hosts_file.absolute()}"'] if settings.known_hosts_file is not None else []
    if pinned is not None:
        known = [f'"{pinned}"', *(known or ["~/.ssh/known_hosts", "~/.ssh/known_hosts2"])]
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
    roles, collections = [job.project / "roles"], [job.project / "collections"]
    if job.installed is not None:
        roles.append(job.installed.roles)
        collections.append(job.installed.collections)
    env = environment_of(program, Path(os.environ.get("HOME") or Path.home())) | {
        "ANSIBLE_CONFIG": str(job.directory / "ansible.cfg"),
        "ANSIBLE_HOME": str(job.directory / "home"),
        "ANSIBLE_LOCAL_TEMP": str(job.directory / "tmp"),
        "ANSIBLE_ROLES_PATH": ":".join([*map(str, roles), "/usr/share/ansible/roles", "/etc/ansible/roles"]),
        "ANSIBLE_COLLECTIONS_PATH": ":".join([*map(str, collections), "/usr/share/ansible/collections"]),
        "ANSIBLE_INVENTORY_ENABLED": "yaml",
        "ANSIBLE_FORKS": str(forks(settings.forks, job.hosts)),
        "ANSIBLE_STRATEGY": settings.strategy,
        "ANSIBLE_TIMEOUT": "10",
        "ANSIBLE_PIPELINING": "1",
        "ANSIBLE_SSH_CONTROL_PATH_DIR": str(control),
        "ANSIBLE_SSH_ARGS": ssh_arguments(settings, job.pinned_file),
        "ANSIBLE_SSH_COMMON_ARGS": f"{settings.ssh_common_args} {ALIVE}".strip(),
        "ANSIBLE_HOST_KEY_CHECKING": "1",
        "ANSIBLE_PYTHON_INTERPRETER": "auto_silent",
        "ANSIBLE_NO_TARGET_SYSLOG": "1",  # modules would log their arguments on the host, secrets included
        "ANSIBLE_CHECK_MODE_MARKERS": "1",  # how events.py tells a task that really runs in check mode
        "ANSIBLE_DISPLAY_ARGS_TO_STDOUT": "0",
        "ANSIBLE_RETRY_FILES_ENABLED": "0",
        "ANSIBLE_DEPRECATION_WARNINGS": "0",
        "ANSIBLE_NOCOWS": "1",
    }
    if settings.private_key_file is not None:
        env["ANSIBLE_PRIVATE_KEY_FILE"] = str(settings.private_key_file.absolute())
    elif "SSH_AUTH_SOCK" in os.environ:
        env["SSH_AUTH_SOCK"] = os.environ["SSH_AUTH_SOCK"]
    return env
