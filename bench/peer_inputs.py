"""What peers plan: the hosts of a generated fleet in each one's own words. `python -m bench.peer_inputs terraform|ansible|puppet DIRECTORY HOSTS`.

Terraform gets one `terraform_data` resource for each host's document, and the state that applying them leaves (its plan then has nothing to
do, which is checked). Ansible gets a static YAML inventory: the same hosts, a group for each tenant, profile and role with that one's
variables, and each host's document as its variables. Puppet gets one small file for each host, already as it is wanted.
"""

import json
import sys
import uuid
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from bench.fleets import host, shared_files

Loader, Dumper = yaml.CSafeLoader, yaml.CSafeDumper


def documents(hosts: int) -> Iterator[dict[str, Any]]:
    """Each host's document."""
    return (yaml.load(host(number), Loader) for number in range(hosts))


def terraform(directory: Path, hosts: int) -> None:
    """main.tf.json and terraform.tfstate."""
    wanted, state = {}, []
    for document in documents(hosts):
        name = document["metadata"]["name"]
        value = {"type": _type(document), "value": document}
        wanted[name] = {"input": document}
        attributes = {"id": str(uuid.uuid5(uuid.NAMESPACE_DNS, name)), "input": value, "output": value, "triggers_replace": None}
        state.append(
            {
                "mode": "managed",
                "type": "terraform_data",
                "name": name,
                "provider": 'provider["terraform.io/builtin/terraform"]',
                "instances": [{"schema_version": 0, "attributes": attributes, "sensitive_attributes": []}],
            }
        )
    (directory / "main.tf.json").write_text(json.dumps({"resource": {"terraform_data": wanted}}))
    whole = {"version": 4, "serial": 1, "lineage": str(uuid.uuid5(uuid.NAMESPACE_DNS, "bench")), "outputs": {}, "resources": state}
    (directory / "terraform.tfstate").write_text(json.dumps(whole))


def _type(value: Any) -> Any:
    """A value's type as Terraform writes it down."""
    match value:
        case dict():
            return ["object", {key: _type(item) for key, item in value.items()}]
        case list():
            return ["tuple", [_type(item) for item in value]]
        case bool():
            return "bool"
        case int() | float():
            return "number"
        case _:
            return "string"


def ansible(directory: Path, hosts: int) -> None:
    """inventory.yaml."""
    groups: dict[str, dict[str, Any]] = defaultdict(lambda: {"hosts": {}, "vars": {}})
    everyone: dict[str, Any] = {"hosts": {}, "vars": {}, "children": groups}
    for path, text in shared_files(hosts):
        document = yaml.load(text, Loader)
        name, spec, kind = document["metadata"]["name"], document["spec"], path.partition("/")[0]
        if kind == "fleet.yaml" or path == "profiles/root.yaml":
            everyone["vars"].update(spec.get("defaults", spec))
        elif kind in ("tenants", "profiles", "roles"):
            groups[f"{kind}_{name}"]["vars"] = spec.get("defaults", spec)
    for document in documents(hosts):
        meta, spec = document["metadata"], document["spec"]
        everyone["hosts"][meta["name"]] = {
            "labels": meta["labels"],
            **{key: item for key, item in spec.items() if key != "vars"},
            **spec["vars"],
        }
        for group in {f"tenants_{meta['tenant']}", f"profiles_{spec['profile']}", *(f"roles_{role}" for role in spec["roles"])}:
            groups[group]["hosts"][meta["name"]] = None
    everyone["children"] = dict(groups)
    with (directory / "inventory.yaml").open("w") as file:
        yaml.dump({"all": everyone}, file, Dumper, default_flow_style=False)


def puppet(directory: Path, hosts: int) -> None:
    """site.pp, and the files that it names."""
    files = directory / "files"
    files.mkdir()
    with (directory / "site.pp").open("w") as manifest:
        for number in range(hosts):
            path, text = files / f"h{number:06d}.yaml", host(number)
            path.write_text(text)
            path.chmod(0o644)
            manifest.write(f"file {{ '{path}': ensure => file, mode => '0644', content => '{text}' }}\n")


def main() -> None:
    """See the module."""
    peer, directory, hosts = sys.argv[1:]
    Path(directory).mkdir(parents=True)
    {"terraform": terraform, "ansible": ansible, "puppet": puppet}[peer](Path(directory), int(hosts))


if __name__ == "__main__":
    main()
