"""Readers and lints that take rendered files apart again: real ones where there are any, our own where there are none.

Own lints, because no program checks these away from a machine: iPXE (its own word splitting, `src/core/exec.c`), autoinstall (Ubuntu's
reference; subiquity is in no registry), netplan version 2 (the keys of its YAML reference).
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import tempfile
import warnings
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
from ruamel.yaml import YAML

from tests.conftest import ROOT, missing, program

IPXE_COMMANDS = {"set", "echo", "imgfree", "kernel", "initrd", "boot", "prompt", "shell", "exit", "goto", "menu", "item", "choose"}
IPXE_COMMANDS |= {"chain", "sanboot", "sleep"}
# fmt: off
AUTOINSTALL_KEYS = {
    "version", "interactive-sections", "early-commands", "locale", "refresh-installer", "keyboard", "source", "network",
    "proxy", "apt", "storage", "identity", "active-directory", "ubuntu-pro", "ssh", "codecs", "drivers", "oem", "snaps",
    "debconf-selections", "packages", "kernel", "kernel-crash-dumps", "timezone", "updates", "shutdown", "late-commands",
    "error-commands", "reporting", "user-data", "zdevs",
}
# fmt: on
STORAGE_KEYS = {
    "disk": {"path", "match", "ptable", "wipe", "preserve", "grub_device"},
    "partition": {"device", "size", "wipe", "preserve", "flag", "grub_device", "number"},
    "format": {"volume", "fstype", "preserve"},
    "mount": {"device", "path"},
    "lvm_volgroup": {"name", "devices", "preserve"},
    "lvm_partition": {"name", "volgroup", "size", "preserve"},
}
NETPLAN_KEYS = {"match", "set-name", "dhcp4", "addresses", "nameservers", "routes", "mtu", "id", "link"}


def read_kickstart(text: bytes, version: str) -> Any:
    """The handler of pykickstart after parsing `text`; raises KickstartError, and KickstartDeprecationWarning as an error."""
    try:
        from pykickstart.parser import KickstartParser
        from pykickstart.version import makeVersion
    except ImportError:
        missing("pykickstart", "uv sync --group dev")
    handler = makeVersion(version)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        KickstartParser(handler, followIncludes=False, missingIncludeIsFatal=False).readKickstartFromString(text.decode())
    return handler


def check_preseed(text: bytes) -> str:
    """What debconf-set-selections complains of; nothing where all is well (its exit status does not say).

    It locks its database, even to check, and says nothing if that fails: so this one is its own.
    """
    tool = program("debconf-set-selections", "debconf")
    with tempfile.TemporaryDirectory() as own:
        places = "".join(f"\nName: {name}\nDriver: File\nFilename: {own}/{name}\n" for name in ("config", "templates"))
        (settings := Path(own) / "debconf.conf").write_text(f"Config: config\nTemplates: templates\n{places}")
        env = os.environ | {"DEBCONF_SYSTEMRC": str(settings)}
        done = subprocess.run([tool, "--checkonly"], input=text, capture_output=True, check=False, timeout=30, env=env)
    return done.stderr.decode()


def read_preseed(text: bytes) -> list[tuple[str, str, str, str]]:
    """Owner, question, type and value of each line, joined as Debian's installer joins continued lines (bin/debconf-set-selections)."""
    made, joined = [], ""
    for line in text.decode().split("\n"):
        if not line.strip() or line.startswith("#"):
            continue
        part = line.lstrip()
        joined = f"{joined} {part.rstrip(chr(92)).rstrip() if part.endswith(chr(92)) else part}".strip()
        if part.endswith("\\"):
            continue
        words = [*joined.split(None, 3), ""]
        made.append((words[0], words[1], words[2], words[3]))
        joined = ""
    assert not joined, "the last line is continued"
    return made


def check_grub(text: bytes) -> int:
    """The exit status of grub-script-check."""
    tool = program("grub-script-check", "grub-common")
    return subprocess.run([tool], input=text, capture_output=True, check=False, timeout=30).returncode


def read_grub(text: bytes) -> list[list[str]]:
    """The commands of a GRUB script; its single quotes and backslashes are those of a shell."""
    return [shlex.split(line) for line in text.decode().split("\n") if line.strip()]


def read_ipxe(text: bytes) -> list[list[str]]:
    """The commands of an iPXE script, split as iPXE splits them; AssertionError for what iPXE would not run as meant."""
    lines = text.decode("ascii").split("\n")
    assert lines[0] == "#!ipxe" and lines[-1] == ""
    labels = {line[1:] for line in lines if line.startswith(":")}
    settings = {line.split()[1] for line in lines if line.startswith("set ")}
    settings |= {line.split(" ||")[0].split()[-1] for line in lines if line.startswith("choose ")}
    commands: list[list[str]] = []
    for line in lines[1:]:
        assert not re.search(r"[^\x20-\x7e]", line) and not line.endswith("\\"), line
        assert set(re.findall(r"\$\{([^}]*)\}?", line)) <= settings, f"unknown setting in {line}"
        if not line or line.startswith(":"):
            continue
        words: list[str] = []
        for word in line.split():
            assert not word.startswith("#"), f"a comment cuts {line}"
            if word in {"||", "&&", ";"}:
                commands.append(words)
                words = []
            else:
                words.append(word)
        commands += [words] if words else []
    for command in commands:
        assert command[0] in IPXE_COMMANDS, f"unknown command {command[0]}"
        assert command[0] != "goto" or command[1] in labels or command[1].startswith("${")
    return commands


def read_yaml(text: bytes) -> Any:
    """The document as a YAML 1.1 reader sees it, which is what cloud-init and netplan use; checked against YAML 1.2."""
    import yaml

    old = yaml.safe_load(text.decode())
    assert old == YAML(typ="safe", pure=True).load(text.decode()), "YAML 1.1 and 1.2 read this differently"
    return old


@cache
def cloud_config_schema() -> dict[str, Any]:
    """cloud-init's own schema, from Debian's package (fetched once, below .peers/)."""
    home = ROOT / ".peers" / "cloud-init"
    found = home / "usr/lib/python3/dist-packages/cloudinit/config/schemas/schema-cloud-config-v1.json"
    if not found.exists():
        home.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=home.parent))  # test workers may come here at once: each makes its own, one stays
        fresh.chmod(0o755)
        try:
            subprocess.run(["apt-get", "download", "cloud-init"], cwd=fresh, check=True, capture_output=True, timeout=120)
            subprocess.run(["dpkg", "-x", next(fresh.glob("*.deb")).name, "."], cwd=fresh, check=True, timeout=60)
            with suppress(OSError):
                fresh.rename(home)
        except (OSError, subprocess.SubprocessError):
            missing("cloud-init's schema", "apt-get download cloud-init, then dpkg -x into .peers/cloud-init")
    schema: dict[str, Any] = json.loads(Path(found).read_text())
    return schema


def check_cloud_config(tree: dict[str, Any]) -> list[str]:
    """Every error of cloud-init's schema, and every top-level key that no module of it knows (the schema itself lets those pass)."""
    schema = cloud_config_schema()
    errors = [error.message for error in jsonschema.Draft4Validator(schema).iter_errors(tree)]
    known = {key for module in schema["allOf"] for key in schema["$defs"][module["$ref"].split("/")[-1]].get("properties", {})}
    return errors + [f"unknown key {key}" for key in tree if key not in known | {"hostname", "fqdn"}]


def check_netplan(tree: dict[str, Any]) -> list[str]:
    """What netplan would not take: unknown keys, a VLAN without its link, an address without a prefix, a second default route."""
    errors = [f"unknown key {key}" for key in tree if key not in {"version", "ethernets", "vlans"}]
    devices = {**tree.get("ethernets", {}), **tree.get("vlans", {})}
    for name, device in devices.items():
        errors += [f"{name}: unknown key {key}" for key in device if key not in NETPLAN_KEYS]
        errors += [f"{name}: {address} has no prefix" for address in device.get("addresses", []) if "/" not in address]
        errors += [f"{name}: set-name without match"] if "set-name" in device and "match" not in device else []
    errors += [f"{name}: no link" for name, vlan in tree.get("vlans", {}).items() if vlan.get("link") not in tree["ethernets"]]
    routes = [route for device in devices.values() for route in device.get("routes", [])]
    return errors + (["two default routes"] if len(routes) > 1 else []) + ([] if tree.get("version") == 2 else ["version is not 2"])


def check_autoinstall(tree: dict[str, Any]) -> list[str]:
    """What Ubuntu's reference does not know, and storage actions that point nowhere."""
    errors = [f"unknown key {key}" for key in tree if key not in AUTOINSTALL_KEYS]
    errors += [] if tree.get("version") == 1 else ["version is not 1"]
    errors += [] if "identity" in tree or "user-data" in tree else ["neither identity nor user-data"]
    seen: set[str] = set()
    for action in tree["storage"]["config"]:
        known = STORAGE_KEYS.get(action["type"], set()) | {"type", "id"}
        errors += [f"{action['id']}: unknown key {key}" for key in action if key not in known]
        points = [action.get(key) for key in ("device", "volume", "volgroup")] + action.get("devices", [])
        errors += [f"{action['id']}: {point} comes later or never" for point in points if point and point not in seen]
        errors += [f"{action['id']} is there twice"] if action["id"] in seen else []
        seen.add(action["id"])
    mounted = [action["path"] for action in tree["storage"]["config"] if action["type"] == "mount"]
    return errors + ([] if "/" in mounted else ["nothing is mounted at /"]) + check_netplan(tree["network"])
