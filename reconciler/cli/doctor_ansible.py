"""What `octofleet doctor` finds of how playbooks are run on this machine, and of what their projects need: programs, repositories that the settings allow."""

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from reconciler.cli.doctor_boot import readable
from reconciler.cli.finding import FAILED, OK, WARNING, Finding, program, tried
from reconciler.drivers.ansible import galaxy, lint
from reconciler.drivers.ansible.isolation import why_not
from reconciler.drivers.ansible.programs import found
from reconciler.drivers.ansible.strategy import PREFIX, strategy_plugins
from reconciler.source.pinned import Pinned
from reconciler.wiring import Installation

INSTALL = "pip install 'octofleet[ansible]'"


def ansible_findings(installation: Installation) -> Iterator[Finding]:
    """The programs, whether runs are isolated, the files that the settings name, and the repositories. No host is asked."""
    ansible = installation.settings.ansible
    yield program("ansible-playbook", f"needed for Roles with ansible: {INSTALL}")
    try:
        yield Finding("ansible-runner", OK, version("ansible-runner"))
    except PackageNotFoundError:
        yield Finding("ansible-runner", WARNING, "not installed", f"needed for Roles with ansible: {INSTALL}")
    yield program("ssh", "needed for Roles with ansible: apt-get install openssh-client")
    yield _isolation(ansible.isolation)
    local = {name: table for name, table in ansible.providers.items() if table.type == "local"}
    for strategy in sorted({table.strategy for table in local.values() if table.strategy.startswith(PREFIX)}):
        yield tried("mitogen", lambda strategy=strategy: f"{version('mitogen')}, {strategy}" if strategy_plugins(strategy) else "")  # type: ignore[misc]
    files = {"private_key_file": ansible.private_key_file, "known_hosts_file": ansible.known_hosts_file}
    files |= {f"tenant_keys.{tenant}": path for tenant, path in ansible.tenant_keys.items()}
    for name, table in local.items():
        files |= {f"providers.{name}.{key}": getattr(table, key) for key in ("private_key_file", "known_hosts_file")}
    for name, path in files.items():
        if path:
            yield tried(f"ansible.{name}", lambda path=path: readable(Path(path).expanduser()))  # type: ignore[misc]

    yield from _projects(installation)


def _projects(installation: Installation) -> Iterator[Finding]:
    """Repositories that are allowed by their whole URL are asked; below a beginning (which ends with `/` or `:`) nobody knows which there are."""
    yield program(galaxy.PROGRAM, f"needed for requirements of Ansible projects: {INSTALL}")
    trouble = lint.missing()
    hint = "needed for warnings on pull requests: pip install 'octofleet[lint]', apt-get install bubblewrap"
    yield Finding(lint.PROGRAM, WARNING, trouble, hint) if trouble else Finding(lint.PROGRAM, OK, found(lint.PROGRAM) or "")
    for url in installation.settings.ansible.repositories:
        yield tried(f"ansible.repositories {url}", lambda url=url: _reached(installation.pinned, url))  # type: ignore[misc]


def _reached(pinned: Pinned, url: str) -> str:
    if url.endswith(("/", ":")):
        return "all repositories below it are allowed; each is asked when a Role names it"
    pinned.reach(url)
    return "it answers these credentials"


def _isolation(mode: str) -> Finding:
    if mode == "off":
        return Finding("isolation", WARNING, "off: a playbook sees all that this user sees", "remove ansible.isolation from the settings")
    trouble = why_not()
    if not trouble:
        return Finding("isolation", OK, "playbooks run in bubblewrap")
    status = FAILED if mode == "required" else WARNING
    return Finding(
        "isolation", status, f"playbooks run without it: {trouble}" if status == WARNING else trouble, "apt-get install bubblewrap"
    )
