"""What peers are given is the same fleet, and one that is not here is a reason, not a failure."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import yaml

from bench import peer_inputs
from bench.fleets import host
from bench.measure import Machine
from bench.peers import PEERS, Peer, measure
from tests.conftest import program

TERRAFORM, ANSIBLE, PUPPET = PEERS


def test_ansible_resolves_the_same_hosts_groups_and_variables(tmp_path: Path) -> None:
    peer_inputs.ansible(tmp_path, 30)
    command = [program("ansible-inventory", "ansible-core"), "-i", str(tmp_path / "inventory.yaml"), "--list"]
    listed = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    seen = listed["_meta"]["hostvars"]
    document = yaml.safe_load(host(7))
    assert len(seen) == 30
    assert seen["h000007"]["interfaces"] == document["spec"]["interfaces"]
    assert seen["h000007"]["asset"] == document["spec"]["vars"]["asset"]
    assert seen["h000007"]["os"]["distribution"] == "debian"  # of the profile that all extend
    assert "h000007" in listed[f"profiles_{document['spec']['profile']}"]["hosts"]
    assert all("h000007" in listed[f"roles_{role}"]["hosts"] for role in document["spec"]["roles"])


def test_terraform_is_given_a_resource_for_each_host_and_its_state(tmp_path: Path) -> None:
    peer_inputs.terraform(tmp_path, 5)
    wanted = json.loads((tmp_path / "main.tf.json").read_text())["resource"]["terraform_data"]
    state = json.loads((tmp_path / "terraform.tfstate").read_text())["resources"]
    assert len(wanted) == len(state) == 5
    attributes = {each["name"]: each["instances"][0]["attributes"] for each in state}
    assert all(attributes[name]["input"]["value"] == each["input"] for name, each in wanted.items())
    assert attributes["h000003"]["output"]["type"][1]["kind"] == "string"


def test_a_peer_that_is_here_has_nothing_to_do(tmp_path: Path) -> None:
    for peer in (TERRAFORM, PUPPET):
        if peer.find() is not None:
            found = measure(peer, Machine(directory=tmp_path), 3)
            assert not isinstance(found, str), found
            assert found.version[0].isdigit()


def test_a_peer_that_is_not_here_or_fails_is_a_reason(tmp_path: Path) -> None:
    assert measure(replace(PUPPET, find=lambda: None), Machine(directory=tmp_path), 3) == "Puppet is not here: apt-get install puppet-agent"
    failing: Peer = replace(ANSIBLE, find=lambda: ["false"], inputs="ansible")
    found = measure(failing, Machine(directory=tmp_path), 3)
    assert isinstance(found, str)
    assert found.startswith("Ansible could not be measured")
