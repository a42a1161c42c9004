"""The inventory of one run: what each host is told.

In: the specifications of the targets and a way to reveal secrets. Out: the inventory as plain JSON (one document, read by Ansible's
`yaml` plugin), and the secrets that are in it, for redaction. Variables rank: what we know of the connection, then the host's `vars`,
then `octofleet` (facts of the manifest), which nothing overrides. Must not: write anything; the runner writes the document where only we
can read it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from reconciler.errors import Permanent
from reconciler.types.host import ResolvedHost
from reconciler.types.values import KnownAfter, Secret, SecretRef, SecretValue, Spec

FACTS = ("name", "tenant", "fqdn", "profile", "roles", "labels", "os", "timezone")
GROUP = "octofleet"
UNSAFE = "__ansible_unsafe"
"""How Ansible's JSON marks a text that it must never take for a template."""

Reveal = Callable[[SecretRef], SecretValue]


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
    """The document, from variables by host name."""
    return {GROUP: {"hosts": dict(hosts)}}


def host_variables(spec: Spec, user: str, reveal: Reveal) -> tuple[dict[str, Any], list[SecretValue]]:
    """One host's variables, and the secrets among them. Whatever `reveal` raises goes through."""
    revealed: list[SecretValue] = []

    def plain(value: Any) -> Any:
        if isinstance(value, Secret):
            secret = reveal(value.ref)
            revealed.append(secret)
            return {UNSAFE: secret.reveal()}
        if isinstance(value, KnownAfter):
            raise Permanent(f"a variable needs {value.path} of {value.address}, which is not known yet", code="input-unknown")
        if isinstance(value, Mapping):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [plain(item) for item in value]
        return value

    facts = spec["host"]
    reached = {"ansible_host": facts["address"] or facts.get("fqdn") or facts["name"]} | ({"ansible_user": user} if user else {})
    return reached | plain(spec["vars"]) | {"octofleet": plain(facts)}, revealed
