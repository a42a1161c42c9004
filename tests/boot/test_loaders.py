"""Which loader a machine gets, and which are served."""

import os
from pathlib import Path

import pytest

from reconciler.boot.loaders import LARGEST, PACKAGED, Loaders, loader_for, read_loaders

TRUE_MARKS = {"undionly.kpxe": b"", "snponly.efi": b"MZ", "ipxe.efi": b"MZ", "debian/shimx64.efi": b"MZ", "debian/grubx64.efi": b"MZ"}


def installed(root: Path) -> None:
    """Every package's files, with their paths as content."""
    for source in PACKAGED:
        for path in source.paths:
            put(root / path.lstrip("/"), path.encode())


def put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def problems(loaders: Loaders) -> dict[str, str]:
    return {one.name: one.hint for one in loaders.missing}


@pytest.mark.parametrize(
    ("architecture", "secure", "distribution", "name"),
    [
        (0, False, "", "undionly.kpxe"),
        (7, False, "", "snponly.efi"),
        (9, False, "", "snponly.efi"),
        (16, False, "", "snponly.efi"),
        (11, False, "", "ipxe-arm64.efi"),
        (19, False, "", "ipxe-arm64.efi"),
        (7, True, "debian", "debian/shimx64.efi"),
        (9, True, "rocky", "rocky/shimx64.efi"),
        (11, True, "ubuntu", "ubuntu/shimaa64.efi"),
        (16, True, "rocky", "rocky/shimx64.efi"),
        (16, True, "debian", None),  # its signed GRUB fetches nothing by HTTP
        (0, True, "debian", None),  # a BIOS has no Secure Boot
        (7, True, "", None),
        (7, True, "../etc", None),
        (6, False, "", None),
        (None, False, "", None),
    ],
)
def test_the_loader_of_a_machine(architecture: int | None, secure: bool, distribution: str, name: str | None) -> None:
    assert loader_for(architecture, secure, distribution) == name


def test_what_debians_packages_bring_is_served_and_what_is_not_there_is_said(tmp_path: Path) -> None:
    assert set(problems(read_loaders(root=tmp_path))) == {source.name for source in PACKAGED}
    installed(tmp_path)
    whole = read_loaders(root=tmp_path)
    assert whole.missing == ()
    assert whole.files["debian/grubx64.efi"] == b"/usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed"
    (tmp_path / "usr/lib/ipxe/snponly.efi").unlink()
    assert problems(read_loaders(root=tmp_path)) == {"snponly.efi": "apt-get install ipxe"}


def test_a_sites_own_loaders_go_before_debians(tmp_path: Path) -> None:
    installed(tmp_path)
    own = tmp_path / "own"
    for name in ("wimboot", "rocky/shimx64.efi", "rocky/grubx64.efi", "debian/shimx64.efi", "rocky/evil.efi", "UPPER/shimx64.efi"):
        put(own / name, name.encode())
    found = read_loaders(own, root=tmp_path)
    assert found.missing == ()
    assert {found.files[name] for name in ("wimboot", "rocky/shimx64.efi", "rocky/grubx64.efi")} == {
        b"wimboot",
        b"rocky/shimx64.efi",
        b"rocky/grubx64.efi",
    }
    assert found.files["debian/shimx64.efi"] == b"debian/shimx64.efi"
    assert set(found.files) == {source.name for source in PACKAGED} | {"wimboot", "rocky/shimx64.efi", "rocky/grubx64.efi"}


def test_half_a_pair_an_empty_and_a_huge_loader_and_no_directory_are_said(tmp_path: Path) -> None:
    installed(tmp_path)
    own = tmp_path / "own"
    put(own / "rocky/shimx64.efi", b"shim")
    put(tmp_path / "usr/lib/ipxe/undionly.kpxe", b"")
    os.truncate(tmp_path / "usr/lib/ipxe/snponly.efi", LARGEST + 1)
    said = problems(read_loaders(own, root=tmp_path))
    assert set(said) == {"rocky/grubx64.efi", "undionly.kpxe", "snponly.efi", "wimboot"}
    assert str(own / "rocky/grubx64.efi") in said["rocky/grubx64.efi"]
    assert str(tmp_path / "none") in problems(read_loaders(tmp_path / "none", root=tmp_path))


def test_the_packages_of_this_machine() -> None:
    """Whatever is installed here is what it says it is: a DOS/EFI executable, or iPXE's PXE image."""
    found = read_loaders()
    for name, mark in TRUE_MARKS.items():
        assert name in found.files or any(one.name == name and one.hint.startswith("apt-get install") for one in found.missing)
        assert found.files.get(name, mark).startswith(mark)
