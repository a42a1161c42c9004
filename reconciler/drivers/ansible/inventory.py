"""The inventory of one run: what each host is told.

In: the specifications of the targets and a way to reveal secrets. Out: the inventory as plain JSON (one document, read by Ansible's
`yaml` plugin), and the secrets that are in it, for redaction. Variables rank: what we know of the connection, then the host's `vars`,
then `octofleet` (facts of the manifest), which nothing overrides. Must not: write anything; the runner writes the document where only we
can read it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from reconciler.drivers.ansible.groups import priorities
from reconciler.errors import Permanent
from reconciler.types.host import ResolvedHost
from reconciler.types.values import KnownAfter, Secret, SecretRef, SecretValue, Spec

FACTS = ("name", "tenant", "fqdn", "profile", "roles", "labels", "os", "timezone")
GROUP = "octofleet"
PRIORITY = "ansible_group_priority"
UNSAFE = "__ansible_unsafe"
"""How Ansible's JSON marks a text that it must never take for a template."""

Reveal = Callable[[SecretRef], SecretValue]
Known = Callable[[Secret | KnownAfter], Any]
"""What a host is told in place of a value that does not stand in its manifests."""


def host_facts(host: ResolvedHost) -> dict[str, Any]:
    """What a playbook may want to know of a host, and where to reach it."""
    facts = {name: host.values[name] for name in FACTS if name in host.values}
    interfaces = host.values.get("interfaces") or []
    networks = sorted({item["network"] for item in interfaces if "network" in item})
    return (
        facts | {"name": host.name, "tenant": host.tenant, "address": _address(interfaces)} | ({"networks": networks} if networks else {})
    )


def _address(interfaces: Sequence[Mapping[str, Any]]) -> str:
    """Of the first primary interface that has one, else of the first that has one, else nothing."""
    having = [item for item in interfaces if item.get("address")]
    chosen = next((item for item in having if item.get("primary") is True), having[0] if having else {})
    return str(chosen.get("address", ""))


def inventory(hosts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The document, from variables by host name: all hosts in `octofleet`, and each in the groups that its facts (`octofleet`) give it."""
    found: dict[str, Any] = {GROUP: {"hosts": dict(hosts), "vars": {PRIORITY: 0}}}
    for name, variables in hosts.items():
        for group, priority in sorted(priorities(_bare(variables["octofleet"])).items()):
            made = found.setdefault(group, {"hosts": {}, "vars": {PRIORITY: priority}})
            made["hosts"][name] = {}
    return found


def _bare(told: Any) -> Any:
    """Facts as they were before they were marked for Ansible."""
    if isinstance(told, Mapping):
        return told[UNSAFE] if UNSAFE in told else {key: _bare(item) for key, item in told.items()}
    return [_bare(item) for item in told] if isinstance(told, list) else told


def host_variables(spec: Spec, user: str, reveal: Reveal) -> tuple[dict[str, Any], list[SecretValue]]:
    """One host's variables, and the secrets among them. Whatever `reveal` raises goes through."""
    revealed: list[SecretValue] = []

    def known(value: Secret | KnownAfter) -> Any:
        if isinstance(value, KnownAfter):
            raise Permanent(f"a variable needs {value.path} of {value.address}, which is not known yet", code="input-unknown")
        secret = reveal(value.ref)
        revealed.append(secret)
        return {UNSAFE: secret.reveal()}

    return variables(spec["host"], spec["vars"], user, known), revealed


def variables(facts: Mapping[str, Any], own: Mapping[str, Any], user: str, known: Known) -> dict[str, Any]:
    """One host's variables from its facts and its own `vars`. What `vars` say may be templates, as in any inventory; facts never are."""
    reached = {"ansible_host": facts["address"] or facts.get("fqdn") or facts["name"]} | ({"ansible_user": user} if user else {})
    told: dict[str, Any] = _plain(own, known, _template)
    return reached | told | {"octofleet": _plain(facts, known, _text)}


def _plain(value: Any, known: Known, text: Callable[[str], Any]) -> Any:
    if isinstance(value, str):
        return text(value)
    if isinstance(value, Secret | KnownAfter):
        return known(value)
    if isinstance(value, Mapping):
        return {key: _plain(item, known, text) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, known, text) for item in value]
    return value


def _template(value: str) -> str:
    return value


def _text(value: str) -> Any:
    """Every template has a brace."""
    return {UNSAFE: value} if "{" in value else value
