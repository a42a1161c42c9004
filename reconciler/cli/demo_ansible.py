"""The demo's chapter of Ansible: what tasks did, what hosts said of themselves, an Operation by hand, and the inventory."""

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reconciler.cli.demo import Demo

OPERATION = "operation/shop/empty-caches"


def ask(made: "Demo", step: Callable[[str], None]) -> None:
    """Ask about the run before, then run an Operation of the example on its two hosts."""
    step("What the playbook's tasks did on each host, and which of them took longest:")
    made.octofleet("tasks", "--limit", "6", expect=0)
    made.octofleet("tasks", "--slowest", "--limit", "3", expect=0)
    for host in made.machines.hosts:
        page = host.home / "srv" / "www" / "cache" / "page.html"
        page.parent.mkdir(parents=True)
        page.write_text("long forgotten\n")
    step("Some things are no state. An Operation runs once, planned and approved as anything, and nothing is wanted of it later:")
    made.octofleet("run", OPERATION, "--approve", "--reason", "make room", expect=0)
    step("What the hosts said of themselves is kept, and so is how it changes:")
    made.octofleet("facts", "shop/web-01", "distribution", expect=0)
    made.octofleet("facts", "--count", "kernel", expect=0)
    step("The same hosts, groups and merged variables for playbooks of your own. Secrets are not told:")
    made.octofleet("inventory", "--host", made.machines.hosts[0].name, expect=0)
