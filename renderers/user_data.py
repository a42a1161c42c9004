"""cloud-init user-data: what a machine from an image becomes on its first boot, and the same for Ubuntu's first boot after autoinstall.

In: `values`. Out: `#cloud-config`. Must not lock out: every account says `lock_passwd`. Source: cloud-init module reference and its
schema-cloud-config-v1.json.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from renderers import callback, inputs, yaml
from renderers.contract import Renderer, RenderError
from renderers.network_config import serves
from renderers.reader import Node

PACKAGE = r"[A-Za-z0-9][A-Za-z0-9+._:~=/-]*[A-Za-z0-9+.~]|[A-Za-z0-9]"
_REPORT = "/run/octofleet-report"
PACKAGE_IS = "the name of a package"


def cloud_config(values: Mapping[str, Any]) -> dict[str, Any]:
    """The tree of a `#cloud-config`."""
    host = inputs.machine(values)
    region = inputs.region(values)
    tree: dict[str, Any] = {
        "hostname": str(host.name),
        "fqdn": str(host.fqdn),
        "locale": region.locale,
        "timezone": region.timezone,
        "keyboard": {"layout": region.layout, **({"variant": region.variant} if region.variant else {})},
        **access(values),
    }
    enabled, servers = inputs.ntp(values)
    if enabled is not None:
        tree["ntp"] = {"enabled": enabled, **({"servers": list(servers)} if enabled and servers else {})}
    upgrade = Node(values)["package_upgrade"].flag(False)
    packages = list(inputs.packages(values, PACKAGE, PACKAGE_IS))
    if packages or upgrade:
        tree["package_update"] = True
    if upgrade:
        tree["package_upgrade"] = True
    if packages:
        tree["packages"] = packages
    return tree


def access(values: Mapping[str, Any]) -> dict[str, Any]:
    """Accounts, root and password logins. Root's hash goes through chpasswd: cloud-init sets `hashed_passwd` of new accounts only."""
    tree: dict[str, Any] = {}
    accounts = [_account(user) for user in inputs.users(values)]
    hashed, keys = inputs.root_access(values)
    if keys:
        accounts.append({"name": "root", "ssh_authorized_keys": list(keys), "lock_passwd": hashed is None})
    if accounts:
        tree["users"] = accounts
    tree["disable_root"] = not keys
    if hashed:
        tree["chpasswd"] = {"expire": False, "users": [{"name": "root", "password": hashed, "type": "hash"}]}
    allowed = inputs.ssh_pwauth(values)
    if allowed is not None:
        tree["ssh_pwauth"] = allowed
    return tree


def _account(user: inputs.User) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "name": user.name,
        "gecos": user.gecos,
        "uid": user.uid,
        "groups": list(user.groups),
        "shell": user.shell,
        # its schema knows one string, its code (Distro.write_sudo_rules) a list too
        "sudo": user.sudo[0] if len(user.sudo) == 1 else list(user.sudo),
        "ssh_authorized_keys": list(user.keys),
        "hashed_passwd": user.hash,
        "system": user.system,
    }
    return {**{key: found for key, found in fields.items() if found not in (None, [], False)}, "lock_passwd": user.locked}


def render(values: Mapping[str, Any]) -> bytes:
    """The user-data of a host from an image, which reports `installed` at the end of its first boot."""
    if inputs.kernel_args(values):
        raise RenderError("/kernel_args", "cloud-init cannot set kernel arguments: build them into the image, or install with an installer")
    tree, url = cloud_config(values), inputs.install(values).callback
    if url is not None:
        commands = [callback.write(url, inputs.machine(values), _REPORT), callback.tell("installed", path=_REPORT), f"rm {_REPORT}"]
        tree["runcmd"] = [["sh", "-c", command] for command in commands]
    return yaml.document(tree, "#cloud-config")


RENDERER = Renderer(
    format="user-data",
    version=2,
    filename="cloud-init/user-data",
    uses=(
        "name",
        "tenant",
        "fqdn",
        "os",
        "install",
        "locale",
        "timezone",
        "keyboard",
        "users",
        "root",
        "ssh_pwauth",
        "ntp",
        "packages",
        "package_upgrade",
        "kernel_args",
    ),
    serves=serves,
    render=render,
)
