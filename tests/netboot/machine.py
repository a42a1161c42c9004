"""A virtual machine that boots from the network, or from its disk: QEMU with SeaBIOS or OVMF.

Sources: qemu-system-x86_64(1); OvmfPkg/README (`opt/org.tianocore/IPv4PXESupport`); edk2's secure variables need SMM (docs/specs of QEMU's q35).
"""

import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from tests.conftest import missing
from tests.ha.kept import Kept, until
from tests.netboot.namespace import Namespace

Firmware = Literal["bios", "uefi-ipxe-rom", "uefi-native", "uefi-http", "secure-boot"]
LIMIT_S = 240
OVMF = Path("/usr/share/OVMF")
CODE, VARIABLES = OVMF / "OVMF_CODE_4M.fd", OVMF / "OVMF_VARS_4M.fd"
SECURE_CODE, SECURE_VARIABLES = OVMF / "OVMF_CODE_4M.secboot.fd", OVMF / "OVMF_VARS_4M.ms.fd"
HTTP_ONLY = ("-fw_cfg", "name=opt/org.tianocore/IPv4PXESupport,string=no", "-fw_cfg", "name=opt/org.tianocore/IPv6PXESupport,string=no")


def _flash(unit: int, file: Path, *, readonly: bool) -> tuple[str, str]:
    return "-drive", f"if=pflash,format=raw,unit={unit},readonly={'on' if readonly else 'off'},file={file}"


@cache
def accelerator() -> tuple[str, ...]:
    """KVM where it runs a firmware to its end (a nested one may stop in it with an internal error), software elsewhere."""
    hardware, software = ("-accel", "kvm", "-cpu", "host"), ("-accel", "tcg", "-cpu", "qemu64")
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return software
    with TemporaryDirectory() as place:
        directory = Path(place)
        shutil.copy(VARIABLES, directory / "variables")
        firmware = [*_flash(0, CODE, readonly=True), *_flash(1, directory / "variables", readonly=False)]
        line = ["qemu-system-x86_64", "-machine", "q35", *hardware, "-m", "256", "-nodefaults", "-display", "none", *firmware]
        tried = Kept([*line, "-serial", f"file:{directory / 'serial'}"], cwd=directory, log=directory / "log", env=os.environ)
        try:
            until(lambda: _said(directory), "KVM's first words", within_s=20)
            return hardware if "Bds" in _text(directory / "serial") else software
        except AssertionError:
            return software
        finally:
            tried.kill()


def _said(directory: Path) -> bool:
    return "Bds" in _text(directory / "serial") or bool(_text(directory / "log"))


def _text(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""


@dataclass(kw_only=True)
class Machine:
    """One network card at `tap`, `memory` in MB, optionally a raw `disk`, which boots first where `boot` says so, and SMBIOS's words for it.

    `console` is what its serial line said. It has power until it switches itself off or restarts.
    """

    firmware: Firmware
    where: Namespace
    tap: str
    directory: Path
    number: int
    card: str = "virtio-net-pci"
    memory: int = 512
    disk: Path | None = None
    boot: Literal["network", "disk"] = "network"
    serial: str = "SN-0001"
    asset: str = "asset-1"
    restarts: bool = False
    _kept: Kept | None = field(default=None, init=False)
    _began: float = field(default=0.0, init=False)

    @property
    def mac(self) -> str:
        return f"52:54:00:aa:00:{self.number:02x}"

    @property
    def uuid(self) -> str:
        return f"11111111-2222-3333-4444-{self.number:012x}"

    def switch_on(self) -> None:
        """For the first time, or again."""
        log = self.directory / f"machine-{self.number}.log"
        command = self._command()
        self._began = time.monotonic()
        with self.where.entered():
            self._kept = Kept(command, cwd=self.directory, log=log, env=os.environ)

    @property
    def console(self) -> str:
        return _text(self._console)

    def wait(self, text: str, within_s: float = LIMIT_S) -> None:
        """Until the serial line says it; fails with the line's end if the machine goes off before, or in time."""
        self._until(lambda: text in self.console or not self._running.alive, f"{text!r} on the serial line", within_s)
        assert text in self.console, f"the machine went off without {text!r}: {self._end()}"

    def wait_off(self, within_s: float = LIMIT_S) -> float:
        """Until it has switched itself off; gives the seconds since it was switched on."""
        self._until(lambda: not self._running.alive, "the machine off", within_s)
        return time.monotonic() - self._began

    def kill(self) -> None:
        """Pull the plug; harmless when it is off."""
        if self._kept is not None:
            self._kept.kill()

    def _until(self, true: object, what: str, within_s: float) -> None:
        try:
            until(true, what, within_s=within_s)  # type: ignore[arg-type]
        except AssertionError as error:
            error.add_note(self._end())
            raise

    def _end(self) -> str:
        return f"{self._running.tail()}\n{self.console[-2000:]}"

    @property
    def _running(self) -> Kept:
        assert self._kept is not None
        return self._kept

    @property
    def _console(self) -> Path:
        return self.directory / f"console-{self.number}.log"

    def _command(self) -> Sequence[str]:
        network, disk = (2, 1) if self.boot == "disk" else (1, 2)
        rom = "" if self.firmware in ("bios", "uefi-ipxe-rom") else ",romfile="
        line = [
            "qemu-system-x86_64",
            "-nodefaults",
            "-display",
            "none",
            "-vga",
            "none",
            *accelerator(),
            "-m",
            str(self.memory),
            *self._firmware(),
        ]
        line += [] if self.restarts else ["-no-reboot"]
        line += ["-netdev", f"tap,id=n0,ifname={self.tap},script=no,downscript=no"]
        line += ["-device", f"{self.card},netdev=n0,mac={self.mac},bootindex={network}{rom}"]
        line += ["-uuid", self.uuid, "-smbios", f"type=1,serial={self.serial}", "-smbios", f"type=3,asset={self.asset}"]
        line += ["-serial", f"file:{self._console}"]
        if self.disk is not None:
            line += ["-drive", f"if=none,id=d0,format=raw,file={self.disk}", "-device", f"virtio-blk-pci,drive=d0,bootindex={disk}"]
        return line

    def _firmware(self) -> list[str]:
        if self.firmware == "bios":
            return ["-machine", "q35,graphics=off"]
        secure = self.firmware == "secure-boot"
        code, variables = (SECURE_CODE, SECURE_VARIABLES) if secure else (CODE, VARIABLES)
        if not code.exists():
            missing(str(code), "apt-get install ovmf")
        own = self.directory / f"variables-{self.number}.fd"
        if not own.exists():
            shutil.copy(variables, own)
        flash = [*_flash(0, code, readonly=True), *_flash(1, own, readonly=False)]
        if secure:
            return ["-machine", "q35,smm=on", "-global", "driver=cfi.pflash01,property=secure,value=on", *flash]
        return ["-machine", "q35", *flash, *(HTTP_ONLY if self.firmware == "uefi-http" else ())]
