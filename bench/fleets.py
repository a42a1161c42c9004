"""Seeded fleets of any size as bare Git repositories, written with `git fast-import`: the same number and layout give the same bytes.

Commits: `main~1` has all hosts; `main` changes one of them; the branch `profile` (from `main~1`) gives the profile that all hosts extend one
more package; the branches `edit-000` and on (from `main~1`, nested layout only) change one host each, so that one process can plan many
one-file commits that it never saw. 25 hosts share a rack, 10 racks a network (a /24 of one tenant), 8 sites take turns.
"""

import subprocess
from collections.abc import Iterator
from pathlib import Path

SITES, TENANTS, PROFILES, ROLES, EDITS = 8, 20, 20, 40, 210
RACK, NETWORK, FILE = 25, 250, 500
LAYOUTS = ("nested", "files of 500 hosts", "flat folder")
HEADER = "apiVersion: octofleet/v1\n"
FLEET = f"""{HEADER}kind: Fleet
metadata: {{name: bench}}
spec:
  defaults:
    locale: en_US.UTF-8
    timezone: Etc/UTC
    domain: example.net
    keyboard: {{layout: us, variant: intl}}
    ssh_pwauth: false
    boot: {{url: "http://boot.example.net/octofleet"}}
    ntp: {{enabled: true, servers: [ntp1.example.net, ntp2.example.net]}}
    users:
      - {{name: ops, gecos: Operations on call, uid: 2000, groups: [adm], shell: /bin/bash, lock_passwd: true}}
"""
WORK = ("web", "database", "cache", "queue", "proxy", "search", "build", "monitor")


def tenant_of(number: int) -> str:
    """Whose a host is: networks belong to tenants in turn."""
    return f"t{number // NETWORK % TENANTS:02d}"


def mac_of(number: int) -> str:
    """The address of a host's card."""
    return f"52:54:{number >> 24 & 255:02x}:{number >> 16 & 255:02x}:{number >> 8 & 255:02x}:{number & 255:02x}"


def host(number: int, *, changed: bool = False) -> str:
    """One host: static address, two roles, labels, variables of its own."""
    network, profile, timezone = number // NETWORK, number % PROFILES, "Europe/Berlin" if changed else "Etc/UTC"
    return f"""{HEADER}kind: Host
metadata:
  name: h{number:06d}
  tenant: {tenant_of(number)}
  labels:
    site: s{network % SITES}
    rack: r{number // RACK:05d}
    environment: {"staging" if number % 10 == 0 else "production"}
spec:
  profile: p{profile:02d}
  roles: [r{number % ROLES:02d}, r{(number * 7 + 3) % ROLES:02d}]
  timezone: {timezone}
  interfaces:
    - name: eno1
      mac: "{mac_of(number)}"
      network: n{network:04d}
      address: 10.{network >> 8}.{network & 255}.{number % NETWORK + 1}
      primary: true
  vars:
    rack_unit: {number % RACK + 1}
    asset: A{number * 7919 % 1_000_003:07d}
    power_feed: {"a" if number % 2 else "b"}
"""


def path_of(number: int, layout: str = LAYOUTS[0]) -> str:
    """The file that a host stands in."""
    if layout == "nested":
        return f"hosts/s{number // NETWORK % SITES}/r{number // RACK:05d}/h{number:06d}.yaml"
    return f"hosts/part-{number // FILE:04d}.yaml" if layout == "files of 500 hosts" else f"hosts/h{number:06d}.yaml"


def shared_files(hosts: int) -> Iterator[tuple[str, str]]:
    """Everything but the hosts."""
    yield "fleet.yaml", FLEET
    for number in range(TENANTS):
        yield (
            f"tenants/t{number:02d}.yaml",
            f"{HEADER}kind: Tenant\nmetadata: {{name: t{number:02d}}}\nspec:\n  displayName: Tenant {number}\n"
            f"  defaults:\n    vars: {{owner: team-{number}, cost_center: C{number * 37 % 1000:04d}}}\n",
        )
    for number in range((hosts + NETWORK - 1) // NETWORK):
        inside = f"10.{number >> 8}.{number & 255}"
        yield (
            f"networks/n{number:04d}.yaml",
            f"{HEADER}kind: Network\nmetadata: {{name: n{number:04d}, tenant: t{number % TENANTS:02d}}}\nspec:\n  cidr: {inside}.0/24\n"
            f"  gateway: {inside}.254\n  nameservers: [{inside}.252, {inside}.253]\n  search: [s{number % SITES}.example.net, example.net]\n",
        )
    yield "profiles/root.yaml", root_profile()
    for number in range(PROFILES):
        yield (
            f"profiles/p{number:02d}.yaml",
            f"{HEADER}kind: Profile\nmetadata: {{name: p{number:02d}}}\nspec:\n  extends: root\n  packages: [pkg-{number}, tools-{number % 3}]\n"
            f"  kernel_args: [numa_balancing={number % 2}]\n  vars: {{generation: {number}, raid: {str(number % 2 == 0).lower()}}}\n",
        )
    for number in range(ROLES):
        work = WORK[number % len(WORK)]
        yield (
            f"roles/r{number:02d}.yaml",
            f"{HEADER}kind: Role\nmetadata: {{name: r{number:02d}}}\nspec:\n  packages: [{work}-{number}, common-{number % 7}]\n"
            f"  vars: {{{work}_port: {8000 + number}, {work}_workers: {number % 8 + 1}, {work}_log: /var/log/{work}-{number}.log}}\n",
        )


def root_profile(*, changed: bool = False) -> str:
    """The profile that every other extends."""
    return f"""{HEADER}kind: Profile
metadata: {{name: root}}
spec:
  os: {{distribution: debian, version: "12", architecture: x86_64}}
  firmware: uefi
  disk:
    device: /dev/sda
    layout: lvm
    partitions:
      - {{mount: /boot/efi, size: 512MiB, filesystem: vfat}}
      - {{mount: /, size: 40GiB, filesystem: ext4}}
      - {{mount: /srv, size: rest, filesystem: xfs}}
  install: {{generation: 1, source: "http://mirror.example.net/debian"}}
  packages: [openssh-server, chrony, curl, rsync{", tcpdump" if changed else ""}]
  kernel_args: [quiet, console=tty0]
  vars: {{monitoring: true, backup: daily, log_target: logs.example.net}}
"""


def edited(hosts: int, edit: int) -> int:
    """The host that the branch `edit-NNN` changes: spread over the fleet, and never the one that `main` changes."""
    return (hosts // 2 + 1 + edit * max(1, hosts // (EDITS + 1))) % hosts


def edits(hosts: int) -> int:
    """How many such branches there are: each changes a host of its own."""
    return min(EDITS, hosts // 2)


def touched(hosts: int) -> set[str]:
    """The names of all hosts that any one-file commit changes."""
    return {f"h{hosts // 2:06d}", *(f"h{edited(hosts, edit):06d}" for edit in range(edits(hosts)))}


def _files(hosts: int, layout: str) -> Iterator[tuple[str, str]]:
    yield from shared_files(hosts)
    if layout == "files of 500 hosts":
        for first in range(0, hosts, FILE):
            yield _part(hosts, first)
    else:
        for number in range(hosts):
            yield path_of(number, layout), host(number)


def _part(hosts: int, first: int, changed: int = -1) -> tuple[str, str]:
    numbers = range(first, min(hosts, first + FILE))
    return path_of(first, LAYOUTS[1]), "---\n".join(host(number, changed=number == changed) for number in numbers)


def _changed(hosts: int, number: int, layout: str) -> tuple[str, str]:
    if layout == "files of 500 hosts":
        return _part(hosts, number // FILE * FILE, number)
    return path_of(number, layout), host(number, changed=True)


def make(hosts: int, into: Path, layout: str = LAYOUTS[0]) -> Path:
    """A bare repository."""
    into.mkdir(parents=True)
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", into], check=True)
    importer = subprocess.Popen(["git", "-C", into, "fast-import", "--quiet"], stdin=subprocess.PIPE)
    assert importer.stdin is not None
    write, mark = importer.stdin.write, 0

    def commit(branch: str, files: Iterator[tuple[str, str]] | list[tuple[str, str]]) -> None:
        nonlocal mark
        mark += 1
        above = "from :1\n" if mark > 1 else ""
        write(f"commit refs/heads/{branch}\nmark :{mark}\ncommitter bench <bench@example.net> {1_700_000_000 + mark} +0000\n".encode())
        write(f"data {len(branch)}\n{branch}\n{above}".encode())
        for path, text in files:
            data = text.encode()
            write(f"M 100644 inline {path}\ndata {len(data)}\n".encode() + data + b"\n")

    commit("main", _files(hosts, layout))
    commit("main", [_changed(hosts, hosts // 2, layout)])
    commit("profile", [("profiles/root.yaml", root_profile(changed=True))])
    if layout == "nested":
        for edit in range(edits(hosts)):
            commit(f"edit-{edit:03d}", [_changed(hosts, edited(hosts, edit), layout)])
    importer.stdin.close()
    if importer.wait():
        raise SystemExit("git fast-import failed")
    subprocess.run(["git", "-C", into, "-c", "pack.threads=1", "gc", "--quiet"], check=True)
    return into
