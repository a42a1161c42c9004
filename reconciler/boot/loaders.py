"""The boot loaders that are served: an allow-list, read into memory once.

In: the directories where Debian's packages put them, and one of the site's own for what Debian does not package. Out: `Loaders`: names with their bytes,
and what is missing. Must not read anything later, nor by a name that came from the network. Sources: Debian's packages `ipxe`, `shim-signed`,
`grub-efi-amd64-signed`, `memtest86+`; IANA's "Processor Architecture Types" (RFC 4578, 5970); shim's `netboot.c` (the second loader is `grubx64.efi`
beside it).
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

BIOS, UEFI_X64, UEFI_BC, UEFI_ARM64, HTTP_X64, HTTP_ARM64 = 0, 7, 9, 11, 16, 19
"""Client architectures that can be booted. Firmware says 7 or 9 for x86-64: the RFC's text and its table differ."""
LARGEST = 16 * 1024 * 1024
_DISTRIBUTION = re.compile(r"[a-z][a-z0-9-]{0,31}")
_IPXE = {
    BIOS: "undionly.kpxe",
    UEFI_X64: "snponly.efi",
    UEFI_BC: "snponly.efi",
    HTTP_X64: "snponly.efi",
    UEFI_ARM64: "ipxe-arm64.efi",
    HTTP_ARM64: "ipxe-arm64.efi",
}
_SHIM = {UEFI_X64: "shimx64.efi", UEFI_BC: "shimx64.efi", UEFI_ARM64: "shimaa64.efi", HTTP_X64: "shimx64.efi", HTTP_ARM64: "shimaa64.efi"}
_PAIRS = (("shimx64.efi", "grubx64.efi"), ("shimaa64.efi", "grubaa64.efi"))


@dataclass(frozen=True, slots=True)
class Source:
    """Where a loader is read: under `name` it is served, from the first of `paths` that is there, which `package` brings ("" where Debian has none)."""

    name: str
    paths: tuple[str, ...]
    package: str = ""
    optional: bool = False


PACKAGED = (
    Source("undionly.kpxe", ("/usr/lib/ipxe/undionly.kpxe",), "ipxe"),
    Source("snponly.efi", ("/usr/lib/ipxe/snponly.efi",), "ipxe"),
    Source("ipxe.efi", ("/usr/lib/ipxe/ipxe.efi", "/boot/ipxe.efi"), "ipxe"),
    Source("ipxe-arm64.efi", ("/usr/lib/ipxe/ipxe-arm64.efi", "/boot/ipxe-arm64.efi"), optional=True),
    Source("debian/shimx64.efi", ("/usr/lib/shim/shimx64.efi.signed",), "shim-signed"),
    Source("debian/grubx64.efi", ("/usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed",), "grub-efi-amd64-signed"),
    Source("memtest.bin", ("/boot/memtest86+x64.bin",), "memtest86+"),
    Source("memtest.efi", ("/boot/memtest86+x64.efi",), "memtest86+"),
)
OWN = ("wimboot", "ipxe-arm64.efi")
"""What the site's own directory may hold beside a directory of each distribution."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Missing:
    """A loader that cannot be served: `text` says why, `hint` what to do. `optional`: only some machines want it."""

    name: str
    text: str
    hint: str
    optional: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaders:
    """The loaders by the names under which TFTP and HTTP serve them, and what is missing."""

    files: Mapping[str, bytes]
    missing: tuple[Missing, ...] = ()


def loader_for(architecture: int | None, secure_boot: bool, distribution: str) -> str | None:
    """The name of the loader for a machine's firmware; None where nothing boots it. With Secure Boot it is the shim of the host's distribution, whose key
    signs its kernels; by HTTP it is none for Debian, whose signed GRUB cannot fetch by HTTP."""
    if architecture is None:
        return None
    if not secure_boot:
        return _IPXE.get(architecture)
    by_http = architecture in {HTTP_X64, HTTP_ARM64}
    if architecture not in _SHIM or not _DISTRIBUTION.fullmatch(distribution) or (by_http and distribution == "debian"):
        return None
    return f"{distribution}/{_SHIM[architecture]}"


def read_loaders(directory: Path | None = None, *, root: Path = Path("/")) -> Loaders:
    """Reads every loader there is. `directory` is the site's own: `wimboot`, `ipxe-arm64.efi` and, for each distribution whose machines use Secure Boot,
    a directory such as `rocky` with `shimx64.efi` and `grubx64.efi`; what stands there goes before Debian's. `root` is where the system's paths begin."""
    files: dict[str, bytes] = {}
    missing: dict[str, Missing] = {}
    for source in (*(_below(source, root) for source in PACKAGED), *(_own(directory) if directory else ())):
        try:
            files[source.name] = _read(source)
            missing.pop(source.name, None)
        except OSError as error:
            if source.name not in files:
                missing[source.name] = _missed(source, error)
    if directory and not directory.is_dir():
        missing[str(directory)] = Missing(
            name=str(directory), text="it is no directory that can be read", hint="make it, or change the setting"
        )
    return Loaders(files=files, missing=tuple(sorted(missing.values())))


def _below(source: Source, root: Path) -> Source:
    return Source(source.name, tuple(str(root / path.lstrip("/")) for path in source.paths), source.package, source.optional)


def _own(directory: Path) -> Iterator[Source]:
    for name in OWN:
        yield Source(name, (str(directory / name),), optional=True)
    try:
        found = {entry.relative_to(directory).as_posix() for entry in directory.glob("*/*.efi")}
    except OSError:
        return
    for distribution in sorted({name.partition("/")[0] for name in found}):
        for pair in _PAIRS:
            if _DISTRIBUTION.fullmatch(distribution) and any(f"{distribution}/{name}" in found for name in pair):
                yield from (Source(f"{distribution}/{name}", (str(directory / distribution / name),)) for name in pair)


def _read(source: Source) -> bytes:
    path = next((Path(path) for path in source.paths if Path(path).is_file()), Path(source.paths[0]))
    with path.open("rb") as file:
        data = file.read(LARGEST + 1)
    if not data or len(data) > LARGEST:
        raise OSError(f"{path} is empty" if not data else f"{path} is larger than {LARGEST} bytes")
    return data


def _missed(source: Source, error: OSError) -> Missing:
    why = f"{error.filename}: {error.strerror}" if error.filename else str(error)
    hint = f"apt-get install {source.package}" if source.package else f"put it at {source.paths[-1]}, readable for the server"
    return Missing(name=source.name, text=why, hint=hint, optional=source.optional)
