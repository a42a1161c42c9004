"""The example fleet: valid, complete, using every field, and naming nobody's real machines."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

import schemas
from schemas.bundle import referred
from schemas.reference import rows
from tests.schemas.documents import EXAMPLE, by_bundle, manifests

MANIFESTS = list(manifests())
IN_DOCS_ONLY = {f"templates.{name}" for name in ("ipxe", "grub", "kickstart", "preseed", "autoinstall", "user-data", "network-config")}
IN_DOCS_ONLY |= {f"templates.{name}" for name in ("autoyast", "unattend", "startnet", "esxi", "esxi-boot")}
OTHER_CHOICES = {"windows.imageIndex"}  # where another field says the same thing otherwise


@pytest.mark.parametrize(("path", "document"), [pytest.param(*pair, id=f"{pair[0]}-{pair[1]['metadata']['name']}") for pair in MANIFESTS])
def test_every_document_is_valid(path: Any, document: Any) -> None:
    assert [f"{error.json_path}: {error.message}" for error in by_bundle(document["kind"]).iter_errors(document)] == []


def of(kind: str) -> list[Any]:
    return [document for _, document in MANIFESTS if document["kind"] == kind]


def test_it_has_what_the_demo_shows() -> None:
    assert len(of("Fleet")) == 1
    assert {document["metadata"]["name"] for document in of("Tenant")} == {"shop", "lab"}
    assert len(of("Host")) >= 14
    assert {frozenset(document["spec"]) - {"template"} for document in of("HostSet")} == {frozenset({"members"}), frozenset({"generate"})}
    systems = {document["spec"]["os"]["distribution"] for document in of("Profile") if "os" in document["spec"]}
    assert systems >= {"debian", "ubuntu", "rocky"}
    assert sum("database" in document["spec"].get("roles", ()) for document in of("Host")) == 2
    converged = {role["metadata"]["name"] for role in of("Role") if "ansible" in role["spec"]}
    assert [host["metadata"]["name"] for host in of("Host") if converged & set(host["spec"].get("roles", ()))] == ["web-01", "web-02"]


def used(value: Any, path: str = "") -> Iterator[str]:
    """The path of every field in a document, list items as `[]`."""
    if isinstance(value, dict):
        for key, child in value.items():
            here = f"{path}.{key}" if path else key
            yield here
            yield from used(child, here)
    elif isinstance(value, list):
        for item in value:
            yield from used(item, f"{path}[]")


def settings_used() -> set[str]:
    prefixes = ("spec.defaults.", "spec.template.spec.", "spec.members[].spec.", "spec.")
    found = {path for _, document in MANIFESTS for path in used(document)}
    return {path.removeprefix(prefix) for path in found for prefix in prefixes if path.startswith(prefix)}


def test_every_field_of_every_kind_is_used() -> None:
    for kind in schemas.KINDS:
        found = {path for document in of(kind) for path in used(document)}
        found |= {path for _, document in MANIFESTS for path in used(document) if path.startswith("metadata.")}
        if kind == "Operation":  # says it as a Role does, and as machine settings do
            found |= {path for document in of("Role") for path in used(document) if path.startswith("spec.ansible.")}
            found |= {f"spec.{path}" for path in settings_used() if path.startswith("rollout.")}
        wanted = {row.path for row in rows(schemas.schema(kind), "")}
        assert wanted - found == set(), kind


def test_every_machine_setting_is_used_or_has_its_example_in_the_reference() -> None:
    block = schemas.common()["$defs"]["machineSettings"]
    unused = {row.path for row in rows(block, "", stop="")} - settings_used()
    assert unused == IN_DOCS_ONLY | OTHER_CHOICES
    templates = referred(block["properties"]["templates"], schemas.common()["$defs"])["properties"]
    for path in IN_DOCS_ONLY:
        assert templates[path.removeprefix("templates.")]["examples"]


def test_addresses_and_names_are_reserved_ones() -> None:
    for path in EXAMPLE.rglob("*"):
        if not path.is_file():
            continue
        text = path.read_text()
        for address in re.findall(r"\b\d+\.\d+\.\d+\.\d+\b", text):
            assert address.startswith(("192.0.2.", "198.51.100.", "203.0.113.", "10.")), f"{path}: {address}"
        for name in re.findall(r"(?:https?://|@)([a-z0-9.-]+)", text):
            assert name.endswith(("example.net", "example.com")), f"{path}: {name}"


def test_secrets_are_named_in_one_role_one_bmc_and_for_windows_and_in_no_boot_file_that_is_published() -> None:
    paths = [
        path
        for _, document in MANIFESTS
        if document["kind"] not in ("Policy", "AlertChannel")
        for path in used(document)
        if path.endswith(".secretRef") and not path.startswith("spec.windows.")  # uses: unattend.xml, which waits for the boot server
    ]
    assert sorted(paths) == ["spec.bmc.password.secretRef", "spec.vars.web_app_token.secretRef"]
    [secret] = [role["spec"]["vars"]["web_app_token"] for role in of("Role") if "web_app_token" in role["spec"].get("vars", {})]
    assert secret == {"secretRef": {"store": "shop-secrets", "key": "app_token"}}


def test_no_hardware_or_network_address_is_there_twice() -> None:
    text = "\n".join(path.read_text() for path in EXAMPLE.rglob("*.yaml"))
    for found in (re.findall(r"(?:mac|firstMac): (\S+)", text), re.findall(r"address: (\S+?)[\s}]", text)):
        assert len(found) == len(set(found)) > 10
