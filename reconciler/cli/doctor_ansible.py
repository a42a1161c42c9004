"""What `octofleet doctor` finds of what Ansible projects need besides ansible-playbook: programs, and repositories that the settings allow."""

from collections.abc import Iterator

from reconciler.cli.finding import OK, WARNING, Finding, tried
from reconciler.drivers.ansible import galaxy, lint
from reconciler.drivers.ansible.confined import found
from reconciler.source.pinned import Pinned
from reconciler.wiring import Installation


def ansible_findings(installation: Installation) -> Iterator[Finding]:
    """Repositories that are allowed by their whole URL are asked; below a beginning (which ends with `/` or `:`) nobody knows which there are."""
    path = found(galaxy.PROGRAM)
    hint = "needed for requirements of Ansible projects: pip install 'octofleet[ansible]'"
    yield Finding(galaxy.PROGRAM, OK, path) if path else Finding(galaxy.PROGRAM, WARNING, "not found", hint)
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
