"""Hostile strings in every string field: refused by the field's name, or read back as the same value in a file of the same structure."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from renderers.registry import RENDERERS, RenderError
from tests.renderers import lints, readers
from tests.renderers.cases import ADA, CASES, KEY, case
from tests.renderers.test_golden import SERVED
from tests.renderers.test_validators import VERSIONS

HOSTILE = [
    "a\nb",
    "a\r\nb",
    "a\0b",
    "a\x1bb",
    "a\u2028b",
    "a\x85b",
    "a\ud800b",
    "it's",
    'say "hi"',
    '"',
    "$HOME",
    "${net0/mac}",
    "$(reboot)",
    "`reboot`",
    "100%",
    "%end",
    "\n%end\n%post\nreboot\n%end",
    "a & b",
    "a && reboot",
    "a || reboot",
    "a ; reboot",
    "a;reboot",
    "a\\",
    "a\\nb",
    "# a",
    "a #b",
    "EOF\nreboot",
    "Zoë Müller",
    "日本 語",
    "{{ 7*7 }}",
    "no",
    "0777",
    "1e3",
    "~",
    "a: b",
    "- a",
    "!!python/object",
    "&a",
    "*",
    "../../etc/passwd",
    " a ",
    "a=(b) c",
    "--root=x",
    'x="a || b"',
    "}\nmenuentry x {",
    "]]>",
    "<!-- a",
    "</source><b>",
    "&amp;x;",
    "a|b>c<d^e",
    "%PATH%",
    "a\u2019b",
    "a --- b",
    "a\uffffb",
]


def fields(tree: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The paths of all strings in a tree."""
    if isinstance(tree, str):
        yield path
    elif isinstance(tree, dict | list):
        for key, item in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from fields(item, (*path, key))


def changed(tree: Any, path: tuple[str | int, ...], value: str) -> Any:
    """A copy of a tree with one string replaced."""
    copy = deepcopy(tree)
    place = copy
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return copy


def leaves(tree: Any) -> list[str]:
    if isinstance(tree, dict):
        return [leaf for key, item in tree.items() for leaf in (key, *leaves(item))]
    return [leaf for item in tree for leaf in leaves(item)] if isinstance(tree, list) else [str(tree)]


def shape(tree: Any) -> Any:
    if isinstance(tree, dict):  # below these two a user's name is the key
        named = {"ethernets", "vlans"}
        return {key: sorted(str(shape(each)) for each in item.values()) if key in named else shape(item) for key, item in tree.items()}
    return [shape(item) for item in tree] if isinstance(tree, list) else type(tree).__name__


def skeleton(format: str, host: str, text: bytes) -> tuple[Any, list[str]]:
    """The structure of a file, which no string may change, and all the words and values in it."""
    if format == "kickstart":
        handler = readers.read_kickstart(text, VERSIONS[host])
        body = text.decode().split("\n%packages\n")[0]
        words = [shlex.split(line) for line in body.split("\n") if line]
        scripts = [shlex.split(script.script) for script in handler.scripts]
        packages = sorted([*handler.packages.packageList, *(group.name for group in handler.packages.groupList)])
        appended = shlex.split(handler.bootloader.appendLine)
        structure = ([(line[0], len(line)) for line in words], [len(script) for script in scripts], len(packages), len(appended))
        return structure, [word for line in (*words, *scripts, packages, appended) for word in line]
    if format == "preseed":
        entries = readers.read_preseed(text)
        script = [shlex.split(value) for _o, question, _t, value in entries if question.endswith("_command")]
        return ([entry[:3] for entry in entries], [len(words) for words in script]), [entry[3] for entry in entries] + [
            w for s in script for w in s
        ]
    if format in {"autoyast", "unattend"}:
        tree = lints.read_xml(text)
        scripts = [shlex.split(source.text) for source in tree.iter(f"{lints.YAST}source")]
        return (lints.shape(tree), [len(script) for script in scripts]), [
            *lints.texts(tree),
            *(word for script in scripts for word in script),
        ]
    if format == "esxi":
        commands, sections = lints.read_esxi(text)
        scripts = [shlex.split(section) for section in sections]
        return ([(line[0], len(line)) for line in commands], [len(script) for script in scripts]), [
            word for line in (*commands, *scripts) for word in line
        ]
    if format == "esxi-boot":
        settings = lints.read_boot_cfg(text)
        return list(settings), list(settings.values())
    if format == "startnet":
        lines = lints.read_batch(text)
        return [(line[0], len(line)) for line in lines if line], [word for line in lines for word in line]
    if format == "windows-report":
        rest, strings = lints.read_powershell(text)
        return rest, strings
    if format in {"ipxe", "grub"}:
        commands = readers.read_ipxe(text) if format == "ipxe" else readers.read_grub(text)
        return [command[0] for command in commands], [word for command in commands for word in command]
    tree = yaml.load(text, yaml.CSafeLoader)  # test_escape.py compares YAML readers; here speed counts
    late = [shlex.split(command) for command in tree.get("autoinstall", {}).get("late-commands", [])]
    return (shape(tree), [len(words) for words in late]), leaves(tree)


@pytest.mark.parametrize(("host", "format"), [pair for pair in SERVED if not pair[1].endswith("meta-data") and pair[1] != "winpeshl"])
def test_no_string_field_changes_the_structure(host: str, format: str) -> None:
    renderer = RENDERERS[format]
    values = {key: CASES[host][key] for key in renderer.uses if key in CASES[host]}
    plain = renderer.render(values)
    structure, _words = skeleton(format, host, plain)
    refused = 0
    for path in fields(values):
        for hostile in HOSTILE:
            try:
                text = renderer.render(changed(values, path, hostile))
            except RenderError as error:
                refused += 1
                assert error.pointer.split("/")[1] == path[0], f"{path} {hostile!r}: {error}"
                assert error.message
                continue
            if text == plain:
                continue  # another kind of installer reads this field
            if path[0] == "keyboard" and format in {"unattend", "esxi", "autoyast"}:
                continue  # these know keyboards by names and numbers of their own
            found, words = skeleton(format, host, text)
            assert found == structure, f"{path} = {hostile!r} changes the structure"
            assert any(hostile.replace('"', "") in word.replace('"', "") for word in [*words, " ".join(words)]), (
                f"{path} = {hostile!r} is mangled"
            )
    assert refused or format == "network-config"  # without interfaces it holds nothing of the user's


@pytest.mark.parametrize("host", ["debian-bios-lvm-static", "ubuntu-uefi-match", "rocky-uefi-dhcp"])
def test_a_kernel_argument_that_iPXE_and_GRUB_accept_passes_the_real_parser(host: str) -> None:
    for hostile in HOSTILE:
        try:
            text = RENDERERS["grub"].render(case(host, kernel_args=[hostile]))
        except RenderError:
            continue
        assert readers.check_grub(text) == 0, hostile


def test_accepted_strings_pass_debconf() -> None:
    accepted = []
    for hostile in HOSTILE:
        values = case("debian-bios-lvm-static", users=[{**ADA, "gecos": hostile}])
        try:
            accepted.append(RENDERERS["preseed"].render(values))
        except RenderError:
            continue
    assert len(accepted) > 10
    assert readers.check_preseed(b"".join(accepted)) == ""


TEXT = st.one_of(st.text(max_size=20), st.text(alphabet="a'\"$`\\%&;#{}|<>* \t\n()=-", max_size=12))
SETTINGS = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])


def _user(values: dict[str, Any], gecos: str, rule: str, comment: str) -> dict[str, Any]:
    return {**values, "users": [{**ADA, "gecos": gecos, "sudo": [rule], "ssh_authorized_keys": [f"{KEY} {comment}"]}]}


@given(gecos=TEXT, rule=TEXT, comment=TEXT)
@SETTINGS
def test_kickstart_users_round_trip(gecos: str, rule: str, comment: str) -> None:
    try:
        text = RENDERERS["kickstart"].render(_user(CASES["rocky-uefi-dhcp"], gecos, rule, comment))
    except RenderError as error:
        assert error.pointer.startswith("/users/0/")
        return
    handler = readers.read_kickstart(text, "RHEL9")
    assert [user.gecos for user in handler.user.userList] == [gecos]
    assert handler.sshkey.sshUserList[-1].key == f"{KEY} {comment}"
    assert f"ada {rule};" in shlex.split(next(script.script for script in handler.scripts if "sudoers" in script.script))


@given(gecos=TEXT, rule=TEXT, comment=TEXT)
@SETTINGS
def test_preseed_users_round_trip(gecos: str, rule: str, comment: str) -> None:
    plain = readers.read_preseed(RENDERERS["preseed"].render(CASES["debian-bios-lvm-static"]))
    try:
        text = RENDERERS["preseed"].render(_user(CASES["debian-bios-lvm-static"], gecos, rule, comment))
    except RenderError as error:
        assert error.pointer.startswith("/users/0/")
        return
    entries = readers.read_preseed(text)
    assert [entry[:3] for entry in entries] == [entry[:3] for entry in plain]
    words = [word.rstrip(";") for word in shlex.split(entries[-1][3])]
    assert f"ada {rule}".rstrip(";") in words and f"{KEY} {comment}".rstrip(";") in words
    assert not gecos or gecos.rstrip(";") in words


@given(gecos=TEXT, rule=TEXT, comment=TEXT)
@SETTINGS
def test_cloud_init_users_round_trip(gecos: str, rule: str, comment: str) -> None:
    try:
        text = RENDERERS["user-data"].render(_user(CASES["debian-cloud"], gecos, rule, comment))
    except RenderError as error:
        assert error.pointer.startswith("/users/0/")
        return
    ada = readers.read_yaml(text)["users"][0]
    assert (ada.get("gecos", ""), ada["sudo"], ada["ssh_authorized_keys"]) == (gecos, rule, [f"{KEY} {comment}"])


@given(argument=TEXT.filter(bool))
@SETTINGS
def test_loaders_pass_a_kernel_argument_on(argument: str) -> None:
    values = case("rocky-uefi-dhcp", kernel_args=[argument])
    for format, read in (("ipxe", readers.read_ipxe), ("grub", readers.read_grub)):
        plain = read(RENDERERS[format].render(case("rocky-uefi-dhcp", kernel_args=[])))
        try:
            text = RENDERERS[format].render(values)
        except RenderError as error:
            assert error.pointer == "/kernel_args/0"
            continue
        commands = read(text)
        kernel = next(command for command in commands if command[0] in {"kernel", "linux"})
        before = next(command for command in plain if command[0] in {"kernel", "linux"})
        assert len(commands) == len(plain)
        assert " ".join(kernel[len(before) :]).replace('"', "") == argument.replace('"', "")
