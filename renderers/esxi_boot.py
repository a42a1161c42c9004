"""The boot.cfg by which ESXi's own loader (mboot.efi, mboot.c32) loads its installer.

In: `values`. Out: boot.cfg. Must not guess the modules, which differ from release to release: `esxi.modules` has those of the image's own
boot.cfg. Sources: VMware ESXi Installation and Setup, "About the boot.cfg File"; esx-boot, `mboot/config.c`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from renderers import inputs
from renderers.contract import Renderer, RenderError
from renderers.escape import boot_cfg as plain
from renderers.esxi import esxi
from renderers.netboot import USES, own_files


def render(values: Mapping[str, Any]) -> bytes:
    """The configuration: paths below `install.source`, the first module as the kernel, and where the kickstart is."""
    host, install, files = inputs.machine(values), inputs.install(values), own_files(values)
    if install.source is None:
        raise RenderError("/install/source", "missing: the URL below which the files of the ESXi image are")
    modules = esxi(values).modules
    if not modules:
        raise RenderError("/esxi/modules", "missing: the names in the kernel= and modules= lines of the image's own boot.cfg, in order")
    nics = inputs.interfaces(values)
    options = [f"ks={files}/ks.cfg", *([f"BOOTIF=01-{nics[0].mac.replace(':', '-')}"] if nics and nics[0].mac else [])]
    options += _early_address(nics[0]) if nics else []
    lines = [
        "bootstate=0",
        f"title={plain(f'Octofleet: installing {host.tenant}/{host.name}')}",
        "timeout=5",
        f"prefix={plain(install.source.rstrip('/'))}",
        f"kernel={plain(modules[0])}",
        f"kernelopt={' '.join(plain(option) for option in [*options, *inputs.kernel_args(values)])}",
        f"modules={' --- '.join(plain(module) for module in modules[1:])}",
        "build=",
        "updated=0",
    ]
    return ("\n".join(lines) + "\n").encode()


def _early_address(nic: inputs.Interface) -> list[str]:
    """How the kernel reaches the kickstart: without these words by DHCP."""
    words = [f"vlanid={nic.vlan}"] if nic.vlan is not None else []
    if nic.address is None:
        return words
    words += [f"ip={nic.address.ip}", f"netmask={nic.address.netmask}"]
    words += [f"gateway={nic.gateway}"] if nic.gateway else []
    return words + ([f"nameserver={nic.nameservers[0]}"] if nic.nameservers else [])


RENDERER = Renderer(
    format="esxi-boot",
    version=1,
    filename="boot.cfg",
    uses=(*USES, "esxi"),
    serves=lambda values: inputs.has_installer(values) and inputs.distribution(values) == "esxi",
    render=render,
)
