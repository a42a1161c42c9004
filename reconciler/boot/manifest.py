"""The manifest of a machine that nobody knows, from what its loader said of it. Pure.

Everything in it has gone through the patterns of `asked.py`, and is written by a YAML library: nothing that a machine says can be more than a value.
"""

from io import BytesIO
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from reconciler.boot.asked import Asked
from reconciler.types.values import Spec

FIELDS = {"uuid": "uuid", "serial": "serial", "asset": "assetTag"}
INTERFACE = "eth0"
COMMENT = """\
Found by network boot: {loader}, {architecture}. Look at the name, the interfaces and the disks before this is merged.
Once it is applied, a generation in the profile has the machine be installed, after a person's approval.
"""


def host_of(who: Asked) -> str:
    """The name of its host, from its MAC address."""
    return f"machine-{who.mac.replace(':', '')}"


def manifest(who: Asked, rules: Spec) -> bytes:
    """A Host, as YAML; `rules`: the Fleet's `spec.boot.discovery`."""
    said = dict(key.split(":", 1) for key in who.keys)
    spec: dict[str, Any] = {"profile": rules["profile"], "firmware": str(who.firmware)}
    spec["interfaces"] = [{"name": rules.get("interface", INTERFACE), "mac": who.mac}]
    if hardware := {field: said[key] for key, field in FIELDS.items() if key in said}:
        spec["hardware"] = hardware
    metadata = {"name": host_of(who), "tenant": rules["tenant"]}
    document = CommentedMap({"apiVersion": "octofleet/v1", "kind": "Host", "metadata": metadata, "spec": spec})
    document.yaml_set_start_comment(COMMENT.format(loader=who.loader, architecture=who.architecture or "of an unknown architecture"))
    yaml, text = YAML(), BytesIO()
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.dump(document, text)
    return text.getvalue()
