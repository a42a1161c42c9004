"""AutoYaST, Windows and ESXi: every case passes the lint of its format, each lint refuses a broken file, and any value comes back as it was."""

from __future__ import annotations

import re
import shlex
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from renderers.registry import RENDERERS, RenderError
from tests.renderers import lints
from tests.renderers.cases import CASES, KEY, case
from tests.renderers.test_injection import TEXT
from tests.renderers.test_validators import served

SETTINGS = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
MARKUP = st.one_of(TEXT, st.text(alphabet="]>&<!-;\"'%$\0\n\uffff a", max_size=12), st.sampled_from(["]]>", "<!--", "&lt;", "</a>"]))


@pytest.mark.parametrize("name", served("autoyast"))
def test_autoyast_passes_its_lint(name: str) -> None:
    assert lints.check_autoyast(lints.read_xml(RENDERERS["autoyast"].render(CASES[name]))) == []


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (b"<keymap>german</keymap>", b"<keymap/><layout>de</layout>", "keyboard knows no layout"),
        (b'<encrypted config:type="boolean">true', b"<encrypted>true", "encrypted has the type None"),
        (b'<partition_id config:type="integer">259', b'<partition_id config:type="integer">efi', "partition_id is no integer: efi"),
        (b"<hwclock>UTC", b'<hwclock config:type="boolean">UTC', "hwclock has the type boolean"),
    ],
)
def test_the_lint_of_autoyast_refuses_a_broken_profile(old: bytes, new: bytes, words: str) -> None:
    good = RENDERERS["autoyast"].render(CASES["sles-uefi-lvm-static"])
    assert old in good
    assert words in lints.check_autoyast(lints.read_xml(good.replace(old, new, 1)))


@pytest.mark.parametrize("name", served("unattend"))
def test_unattend_passes_its_lint(name: str) -> None:
    assert lints.check_unattend(lints.read_xml(RENDERERS["unattend"].render(CASES[name]))) == []


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (b'pass="windowsPE"', b'pass="winPE"', "knows no winPE"),
        (b"Microsoft-Windows-TCPIP", b"Microsoft-Windows-TCP", "specialize knows no Microsoft-Windows-TCP"),
        (b"<ComputerName>ad-01</ComputerName>", b"<Computer>ad-01</Computer>", "knows no Computer"),
        (b"<ComputerName>ad-01</ComputerName>", b"<ComputerName/>", "ComputerName is empty"),
        (b'<CreatePartition wcm:action="add">', b"<CreatePartition>", "CreatePartition has no action"),
        (b"<Order>1</Order>", b"<Order>7</Order>", "orders of CreatePartitions are [7, 2, 3]"),
        (b"<DiskID>0</DiskID>", b"<DiskId>0</DiskId>", "Disk knows no DiskId"),
        (b' language="neutral"', b"", "lacks an attribute"),
    ],
)
def test_the_lint_of_unattend_refuses_a_broken_file(old: bytes, new: bytes, words: str) -> None:
    good = RENDERERS["unattend"].render(CASES["windows-uefi-domain"])
    assert old in good
    assert words in "\n".join(lints.check_unattend(lints.read_xml(good.replace(old, new, 1))))


def test_the_lint_of_unattend_knows_the_order() -> None:
    root = lints.read_xml(RENDERERS["unattend"].render(CASES["windows-uefi-domain"]))
    root.append(root[0])
    assert "out of order" in lints.check_unattend(root)[0]


@pytest.mark.parametrize("name", served("esxi"))
def test_esxi_passes_its_lint(name: str) -> None:
    assert lints.check_esxi(RENDERERS["esxi"].render(CASES[name])) == []
    assert lints.read_boot_cfg(RENDERERS["esxi-boot"].render(CASES[name]))["kernel"] == "b.b00"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (b"rootpw --iscrypted", b"rootpw --plaintext", "rootpw knows no --plaintext"),
        (b"vmaccepteula\n", b"", "vmaccepteula is there 0 times"),
        (b"keyboard German", b"keyboards German", "no command keyboards"),
        (b"%firstboot", b"%secondboot", "no section %secondboot"),
        (b"%post --interpreter", b"%post --shell", "%post knows no --shell=busybox"),
    ],
)
def test_the_lint_of_esxi_refuses_a_broken_kickstart(old: bytes, new: bytes, words: str) -> None:
    good = RENDERERS["esxi"].render(CASES["esxi-uefi-static"])
    assert old in good
    assert words in lints.check_esxi(good.replace(old, new, 1))


def windows(**changed: Any) -> dict[str, Any]:
    return case("windows-uefi-domain", windows={**deepcopy(CASES["windows-uefi-domain"]["windows"]), **changed})


@given(password=MARKUP.filter(bool), organization=MARKUP.filter(bool), command=MARKUP.filter(bool), edition=MARKUP.filter(bool))
@SETTINGS
def test_windows_values_round_trip(password: str, organization: str, command: str, edition: str) -> None:
    plain = lints.read_xml(RENDERERS["unattend"].render(windows()))
    values = windows(
        administratorPassword=password,
        organization=organization,
        edition=edition,
        firstLogon=[{"command": command, "description": "x"}],
    )
    try:
        root = lints.read_xml(RENDERERS["unattend"].render(values))
    except RenderError as error:
        assert error.pointer.startswith("/windows/")
        return
    assert lints.shape(root) == lints.shape(plain) and lints.check_unattend(root) == []
    found = {name: root.findtext(f".//{lints.UNATTEND}{name}") for name in ("RegisteredOrganization", "CommandLine")}
    assert found == {"RegisteredOrganization": organization, "CommandLine": command}
    assert root.findtext(f".//{lints.UNATTEND}MetaData/{lints.UNATTEND}Value") == edition
    assert root.findtext(f".//{lints.UNATTEND}AdministratorPassword/{lints.UNATTEND}Value") == password


@given(gecos=MARKUP, comment=MARKUP)
@SETTINGS
def test_autoyast_values_round_trip(gecos: str, comment: str) -> None:
    keys = [f"{KEY} {comment}"]
    values = case("sles-uefi-lvm-static", users=[{"name": "ada", "gecos": gecos}], root={"ssh_authorized_keys": keys})
    try:
        root = lints.read_xml(RENDERERS["autoyast"].render(values))
    except RenderError as error:
        assert error.pointer in {"/users/0/gecos", "/root/ssh_authorized_keys/0"}
        return
    assert lints.check_autoyast(root) == []
    assert root.findtext(f".//{lints.YAST}listentry") == keys[0]
    scripts = [shlex.split(source.text) for source in root.iter(f"{lints.YAST}source")]
    assert not gecos or gecos in scripts[-1]


@given(model=MARKUP.filter(bool), argument=MARKUP.filter(bool))
@SETTINGS
def test_esxi_values_round_trip(model: str, argument: str) -> None:
    values = case("esxi-bios-model", disk={"match": {"model": model}}, kernel_args=[argument])
    try:
        text = RENDERERS["esxi"].render(values)
    except RenderError as error:
        assert error.pointer == "/disk/match/model"
    else:
        assert lints.check_esxi(text) == []
        assert ["install", f"--firstdisk={model}", "--overwritevmfs"] in lints.read_esxi(text)[0]
    try:
        settings = lints.read_boot_cfg(RENDERERS["esxi-boot"].render(values))
    except RenderError as error:
        assert error.pointer == "/kernel_args/0"
    else:
        assert settings["kernelopt"].endswith(f" {argument}")


def test_what_iPXE_fetches_holds_no_password() -> None:
    values, told = CASES["windows-uefi-domain"], CASES["windows-uefi-domain"]["windows"]
    secrets = [
        told["administratorPassword"],
        told["share"]["password"],
        told["users"][0]["password"],
        told["domain"]["account"]["password"],
    ]
    for format in ("ipxe", "startnet", "winpeshl", "windows-report"):
        text = RENDERERS[format].render(values).decode()
        assert not [secret for secret in (*secrets, told["productKey"]) if secret in text]


def test_every_file_that_wimboot_loads_is_rendered_or_of_the_medium() -> None:
    script = RENDERERS["ipxe"].render(CASES["windows-uefi-domain"]).decode()
    own = re.findall(r"^initrd --name \S+ http://boot\.acme\.example:8080/octofleet/acme/ad-01/(\S+) ", script, re.MULTILINE)
    assert own == ["startnet.cmd", "winpeshl.ini"] and set(own) <= {renderer.filename for renderer in RENDERERS.values()}
    batch = RENDERERS["startnet"].render(CASES["windows-uefi-domain"]).decode()
    fetched = re.findall(r"/acme/ad-01/([a-z.]+\w)\"", batch)
    assert fetched == ["unattend.xml", "report.ps1"] and set(fetched) <= {renderer.filename for renderer in RENDERERS.values()}


def test_labels_of_the_batch_file_are_there() -> None:
    lines = lints.read_batch(RENDERERS["startnet"].render(CASES["windows-uefi-domain"]))
    labels = {line[0] for line in lines if line and line[0].startswith(":")}
    targets = {f":{line[line.index('goto') + 1]}" for line in lines if "goto" in line}
    assert targets == labels
