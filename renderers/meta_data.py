"""NoCloud's meta-data: who the instance is. One for cloud-init hosts, one beside Ubuntu's autoinstall file.

In: name, tenant, FQDN and the installation's generation. Out: YAML. Must not change while the machine stays the same one: cloud-init runs
once for each instance-id, so only a reinstall (a higher generation) changes it. Source: cloud-init, "NoCloud" and "Instance metadata".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from renderers import inputs, yaml
from renderers.contract import Renderer
from renderers.network_config import serves

_USES = ("name", "tenant", "fqdn", "os", "install")


def render(values: Mapping[str, Any]) -> bytes:
    """`instance-id: TENANT-NAME-GENERATION` and `local-hostname`."""
    host = inputs.machine(values)
    generation = inputs.install(values).generation
    return yaml.document({"instance-id": f"{host.tenant}-{host.name}-{generation}", "local-hostname": str(host.name)})


def serves_autoinstall(values: Mapping[str, Any]) -> bool:
    """Ubuntu hosts that an installer sets up."""
    return inputs.has_installer(values) and inputs.distribution(values) == "ubuntu"


RENDERER = Renderer(format="meta-data", version=1, filename="cloud-init/meta-data", uses=_USES, serves=serves, render=render)
AUTOINSTALL_RENDERER = Renderer(
    format="autoinstall-meta-data",
    version=1,
    filename="autoinstall/meta-data",
    uses=_USES,
    serves=serves_autoinstall,
    render=render,
)
