"""The collection as an archive: the same bytes each time, and what `ansible-galaxy` says of it."""

import hashlib
import subprocess
import sys
import tarfile
from pathlib import Path

from reconciler.drivers.ansible.collection import built
from reconciler.wiring import VERSION
from tests.conftest import ROOT
from tests.fleets import octofleet
from tests.inventory.world import Ansible


def test_the_same_bytes_wherever_it_is_made(tmp_path: Path) -> None:
    name, data = built(VERSION)
    for place, zone in (("one", "UTC"), ("two", "Asia/Tokyo")):
        found = octofleet(tmp_path / "data", "inventory", "--collection", str(tmp_path / place), "--json", env={"TZ": zone, "LC_ALL": "C"})
        assert found.json == {"collection": str(tmp_path / place / name)}
        assert hashlib.sha256((tmp_path / place / name).read_bytes()).hexdigest() == hashlib.sha256(data).hexdigest()
    with tarfile.open(tmp_path / "one" / name) as archive:
        inside = {member.name for member in archive if member.isfile()}
    assert inside == {"MANIFEST.json", "FILES.json", "README.md", "meta/runtime.yml", "plugins/inventory/octofleet.py"}


def test_it_is_made_without_ansible() -> None:
    text = "import sys; from reconciler.drivers.ansible.collection import built; built('1.2.3'); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True, cwd=ROOT)
    assert not {"ansible", "yaml"} & set(done.stdout.split())


def test_galaxy_verifies_what_it_installed(ansible: Ansible) -> None:
    verified = ansible.run("ansible-galaxy", "collection", "verify", "--offline", "octofleet.fleet")
    assert verified.code == 0 and "Successfully verified" in verified.text, verified.text
    listed = ansible.run("ansible-galaxy", "collection", "list", "octofleet.fleet")
    assert VERSION in listed.out


def test_galaxy_sees_what_was_changed(ansible: Ansible) -> None:
    (copy,) = ansible.root.rglob("ansible_collections/octofleet/fleet/README.md")
    was = copy.read_bytes()
    try:
        copy.write_bytes(was + b"more\n")
        assert ansible.run("ansible-galaxy", "collection", "verify", "--offline", "octofleet.fleet").code != 0
    finally:
        copy.write_bytes(was)


def test_every_option_is_documented(ansible: Ansible) -> None:
    found = ansible.run("ansible-doc", "-t", "inventory", "--json", "octofleet.fleet.octofleet")
    said = found.json["octofleet.fleet.octofleet"]
    options = said["doc"]["options"]
    assert set(options) >= {
        "server",
        "token_env",
        "token_file",
        "ca_file",
        "repo",
        "rev",
        "data_dir",
        "command",
        "scope",
        "compose",
        "strict",
        "cache",
    }
    assert all(option["description"] for option in options.values()) and "plugin: octofleet.fleet.octofleet" in said["examples"]
    assert "WARNING" not in found.err
