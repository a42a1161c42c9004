"""Ubuntu's autoinstall, delivered as the user-data of a NoCloud seed at <boot.url>/<tenant>/<name>/autoinstall/.

In: `values`. Out: `#cloud-config` with one key, `autoinstall`. Accounts, time and SSH are cloud-init's on the first boot (`user-data`).
Must not choose a disk. Source: Ubuntu, "Autoinstall configuration reference manual" (version 1); curtin, "Storage".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from renderers import callback, disks, inputs, yaml
from renderers.contract import Renderer
from renderers.escape import default_grub, shell
from renderers.meta_data import serves_autoinstall
from renderers.network_config import netplan
from renderers.reader import Node
from renderers.user_data import PACKAGE, PACKAGE_IS, cloud_config

_IN_PARTITION_TABLE = {"swap": {"flag": "swap"}}


def render(values: Mapping[str, Any]) -> bytes:
    """The autoinstall document; RenderError without a disk, or for an Ubuntu that has no autoinstall."""
    host = inputs.machine(values)
    host.codename  # noqa: B018 - an unknown release is an error here, before a machine boots it
    region = inputs.region(values)
    first_boot = cloud_config(values)
    for key in ("locale", "keyboard", "timezone", "package_update", "package_upgrade", "packages"):
        first_boot.pop(key, None)  # the installer has done it
    tree: dict[str, Any] = {
        "version": 1,
        "locale": region.locale,
        "keyboard": {"layout": region.layout, "variant": region.variant or ""},
        "timezone": region.timezone,
        "network": netplan(values),
        "storage": storage(disks.disk_plan(values)),
        "ssh": {"install-server": inputs.wants_ssh(values), "allow-pw": bool(inputs.ssh_pwauth(values))},
    }
    packages = list(inputs.packages(values, PACKAGE, PACKAGE_IS))
    if packages:
        tree["packages"] = packages
    tree["updates"] = "all" if Node(values)["package_upgrade"].flag(False) else "security"
    tree["user-data"] = first_boot
    late = _kernel_args(values)
    url = inputs.install(values).callback
    if url is not None:
        first_boot["ssh_deletekeys"] = False  # or cloud-init would replace the keys that are reported here
        tree["early-commands"] = [callback.write(url, host), callback.tell("booted")]
        tree["error-commands"] = [callback.tell("failed", log="/var/log/installer/subiquity-server-debug.log")]
        late.append(callback.tell("installed", root="/target"))
    if late:
        tree["late-commands"] = late
    tree["shutdown"] = "reboot"
    return yaml.document({"autoinstall": tree}, "#cloud-config")


def storage(plan: disks.DiskPlan) -> dict[str, Any]:
    """The plan as curtin storage actions, with no swap file beside them. Sizes are strings with M for MiB; -1 is the rest."""
    disk: dict[str, Any] = {"type": "disk", "id": "disk0"}
    if plan.device:
        disk["path"] = plan.device
    if plan.match:
        wanted = {"serial": plan.match.serial, "model": plan.match.model, "size": plan.match.size, "ssd": plan.match.ssd}
        disk["match"] = {key: found for key, found in wanted.items() if found is not None}
    disk |= {"ptable": "gpt", "wipe": "superblock-recursive", "preserve": False, "grub_device": not plan.uefi}
    actions = [disk]
    if not plan.uefi:
        actions.append(_partition("bios", "1M", flag="bios_grub"))
    volumes = [part for part in plan.partitions if part.volume]
    for index, part in enumerate(plan.partitions):
        if part.volume:
            continue
        extra: dict[str, Any] = (
            {"flag": "boot", "grub_device": True} if part.mount == "/boot/efi" else _IN_PARTITION_TABLE.get(part.mount, {})
        )
        actions += [_partition(f"part{index}", _size(part), **extra), *_file_system(f"part{index}", part)]
    if volumes:
        actions.append(_partition("pv0", -1))
        group = {"type": "lvm_volgroup", "id": "vg0", "name": disks.VOLUME_GROUP, "devices": ["pv0"], "preserve": False}
        actions.append(group)
    for part in volumes:
        volume = f"lv-{part.volume}"
        entry = {"type": "lvm_partition", "id": volume, "name": part.volume, "volgroup": "vg0", "size": _size(part), "preserve": False}
        actions += [entry, *_file_system(volume, part)]
    return {"swap": {"size": 0}, "config": actions}


def _size(part: disks.Partition) -> str | int:
    return -1 if part.size_mib is None else f"{part.size_mib}M"


def _partition(name: str, size: str | int, **extra: Any) -> dict[str, Any]:
    return {"type": "partition", "id": name, "device": "disk0", "size": size, "wipe": "superblock", "preserve": False, **extra}


def _file_system(on: str, part: disks.Partition) -> list[dict[str, Any]]:
    kind = "fat32" if part.filesystem == "vfat" else part.filesystem
    return [
        {"type": "format", "id": f"{on}-fs", "volume": on, "fstype": kind, "preserve": False},
        {"type": "mount", "id": f"{on}-mount", "device": f"{on}-fs", "path": "" if part.mount == "swap" else part.mount},
    ]


def _kernel_args(values: Mapping[str, Any]) -> list[str]:
    args = " ".join(default_grub(argument) for argument in inputs.kernel_args(values))
    if not args:
        return []
    line = f'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX {args}"'
    return [
        f"mkdir -p /target/etc/default/grub.d && printf %s {shell(line)} > /target/etc/default/grub.d/90-octofleet.cfg",
        "curtin in-target --target=/target -- update-grub",
    ]


RENDERER = Renderer(
    format="autoinstall",
    version=2,
    filename="autoinstall/user-data",
    uses=(
        "name",
        "tenant",
        "fqdn",
        "os",
        "install",
        "locale",
        "timezone",
        "keyboard",
        "interfaces",
        "disk",
        "firmware",
        "users",
        "root",
        "ssh_pwauth",
        "ntp",
        "packages",
        "package_upgrade",
        "kernel_args",
    ),
    serves=serves_autoinstall,
    render=render,
)
