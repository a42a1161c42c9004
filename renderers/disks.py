"""What goes on a host's disk, in one plan for every installer, and the shell script that finds a disk by `match`.

In: `values["disk"]`, `values["firmware"]`. Out: `DiskPlan`, with boot partitions added. Must not choose a disk that nobody named.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from renderers import escape, inputs
from renderers.contract import RenderError, Text
from renderers.reader import Node

_UNITS = {"MiB": 1, "GiB": 1024, "TiB": 1024 * 1024}
VOLUME_GROUP = "vg0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """One file system; `volume` names its logical volume, None where it is a partition of its own. `size_mib` None: what is left."""

    mount: str  # an absolute path, or swap
    size_mib: int | None
    filesystem: str
    volume: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """The disk is the one that fits all of these; `size` says which of several."""

    serial: Text | None
    model: Text | None
    size: Text | None
    ssd: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskPlan:
    """One disk, its partition table (always GPT) and the file systems; `rest` (size_mib None) comes last."""

    device: Text | None
    match: Match | None
    uefi: bool
    lvm: bool
    partitions: tuple[Partition, ...]


def disk_plan(values: Mapping[str, Any]) -> DiskPlan:
    """The plan for the host's disk.

    Adds the EFI system partition (600 MiB) for UEFI, and /boot (1 GiB) for LVM, where the user names none; the BIOS boot partition follows
    from `uefi` being false. Raises RenderError where the disk, the firmware or the root file system is not said.
    """
    host = inputs.machine(values)
    node = Node(values)["disk"]
    if not node:
        raise RenderError("/disk", "missing: say which disk the installer may erase, by disk.device or disk.match")
    device = node["device"].maybe(r"/dev/[A-Za-z0-9._:/+-]+", "the path of a disk below /dev")
    match = _match(node["match"]) if node["match"] else None
    if (device is None) == (match is None):
        raise RenderError("/disk", "say either disk.device or disk.match, one of the two: the installer erases this disk")
    lvm = node["layout"].text("direct|lvm", "direct or lvm", default="direct") == "lvm"
    uefi = _uefi(values, host)
    default = "xfs" if host.rhel_like else "ext4"
    return DiskPlan(device=device, match=match, uefi=uefi, lvm=lvm, partitions=_partitions(node["partitions"], default, uefi=uefi, lvm=lvm))


def _uefi(values: Mapping[str, Any], host: inputs.Machine) -> bool:
    default = "uefi" if host.architecture == "aarch64" else None
    firmware = Node(values)["firmware"].text(
        "bios|uefi", "bios or uefi", default=default, why="say bios or uefi: the boot partition depends on it"
    )
    if firmware == "bios" and host.architecture == "aarch64":
        raise RenderError("/firmware", "aarch64 machines have no BIOS: set uefi")
    return firmware == "uefi"


def _match(node: Node) -> Match:
    made = Match(
        serial=node["serial"].maybe(r".+", "a serial number"),
        model=node["model"].maybe(r".+", "a model name"),
        size=node["size"].maybe("largest|smallest", "largest or smallest"),
        ssd=node["ssd"].flag(None),
    )
    if (made.serial, made.model, made.size, made.ssd) == (None, None, None, None):
        raise RenderError(node.pointer, "say serial, model, size or ssd: an empty match would fit any disk")
    for pattern in (made.serial, made.model):
        if pattern is not None:
            escape.shell_pattern(pattern)
    return made


def _partitions(node: Node, default: str, *, uefi: bool, lvm: bool) -> tuple[Partition, ...]:
    made: list[Partition] = []
    for item in node.items():
        mount = item["mount"].text(r"swap|/[A-Za-z0-9._/-]*", "an absolute path of plain characters, or swap")
        if mount in {part.mount for part in made} and mount != "swap":
            raise RenderError(mount.pointer, f"{mount} is mounted twice")
        made.append(Partition(mount=str(mount), size_mib=_size(item["size"]), filesystem=_filesystem(item, mount, default), volume=None))
    if not made:
        made.append(Partition(mount="/", size_mib=None, filesystem=default, volume=None))
    mounts = {part.mount for part in made}
    if "/" not in mounts:
        raise RenderError(node.pointer, "no partition is mounted at /: add one")
    if sum(part.size_mib is None for part in made) > 1:
        raise RenderError(node.pointer, "only one partition can have the size rest")
    if lvm and "/boot" not in mounts:
        made.insert(0, Partition(mount="/boot", size_mib=1024, filesystem=default, volume=None))
    if uefi and "/boot/efi" not in mounts:
        made.insert(0, Partition(mount="/boot/efi", size_mib=600, filesystem="vfat", volume=None))
    made.sort(key=lambda part: (part.mount != "/boot/efi", part.mount != "/boot", part.size_mib is None))
    return tuple(_with_volumes(made) if lvm else made)


def _size(node: Node) -> int | None:
    text = node.text(r"[1-9][0-9]{0,6}(MiB|GiB|TiB)|rest", "a size such as 512MiB, 20GiB, 1TiB or rest")
    return None if text == "rest" else int(text[:-3]) * _UNITS[text[-3:]]


def _filesystem(item: Node, mount: str, default: str) -> str:
    fixed = {"swap": "swap", "/boot/efi": "vfat"}.get(mount)
    chosen = item["filesystem"].text("ext4|xfs|btrfs|vfat|swap", "ext4, xfs, btrfs, vfat or swap", default=fixed or default)
    if (fixed and chosen != fixed) or (chosen == "swap" and mount != "swap"):
        raise RenderError(chosen.pointer, f"{mount} cannot be {chosen}{f': it is always {fixed}' if fixed else ''}")
    return str(chosen)


def _with_volumes(partitions: list[Partition]) -> list[Partition]:
    made: list[Partition] = []
    for part in partitions:
        name: str | None = None
        if part.mount not in {"/boot", "/boot/efi"}:
            base = "root" if part.mount == "/" else part.mount.strip("/").replace("/", "_").replace("-", "_") or "root"
            name, count = base, 1
            while name in {other.volume for other in made}:
                count += 1
                name = f"{base}_{count}"
        made.append(Partition(mount=part.mount, size_mib=part.size_mib, filesystem=part.filesystem, volume=name))
    return made


def find_disk(match: Match) -> list[str]:
    """Lines of POSIX shell that leave the kernel name of the one matching disk in `$disk`, or exit 1.

    No comment and no backslash, and each line may be joined to the next with a blank, so that a preseed value can hold them. Removable and
    read-only devices never match; of several matches `size` picks one (the first by name where equal), and without `size` that is an error.
    """
    lines = [
        "disk=; best=; for path in /sys/block/*; do name=${path##*/};",
        "case $name in loop*|ram*|zram*|sr*|fd*|dm-*|md*|nbd*) continue ;; esac;",
        'if [ "$(cat "$path/removable")$(cat "$path/ro")" != 00 ]; then continue; fi;',
        'size=$(cat "$path/size"); if [ "$size" -eq 0 ]; then continue; fi;',
    ]
    if match.ssd is not None:
        lines.append(f'if [ "$(cat "$path/queue/rotational")" != {0 if match.ssd else 1} ]; then continue; fi;')
    for pattern, fields in ((match.serial, ("ID_SERIAL", "ID_SERIAL_SHORT")), (match.model, ("ID_MODEL",))):
        if pattern is not None:
            wanted = " ".join(f"-e s/^{field}=//p" for field in fields)
            lines += [
                f'found=; for value in $(udevadm info --query=property --name="/dev/$name" | sed -n {wanted}); do',
                f"case $value in {escape.shell_pattern(pattern)}) found=1 ;; esac; done;",
                'if [ -z "$found" ]; then continue; fi;',
            ]
    better = {"largest": '[ "$size" -gt "$best" ]', "smallest": '[ "$size" -lt "$best" ]'}.get(match.size or "")
    if better:
        lines.append(f'if [ -z "$disk" ] || {better}; then disk=$name; best=$size; fi; done;')
    else:
        lines.append('if [ -n "$disk" ]; then echo "more than one disk matches"; exit 1; fi; disk=$name; done;')
    return [*lines, 'if [ -z "$disk" ]; then echo "no disk matches"; exit 1; fi;']
