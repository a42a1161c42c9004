"""The iPXE script that starts a host's installer.

In: `values`. Out: one script, ASCII. Must not rely on quoting: iPXE has none (escape.ipxe). Sources: https://ipxe.org/scripting,
https://ipxe.org/cmd/kernel, https://ipxe.org/cmd/initrd, https://ipxe.org/cmd/prompt.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from renderers.contract import Renderer
from renderers.escape import ipxe
from renderers.inputs import has_installer
from renderers.netboot import USES, boot_plan


def render(values: Mapping[str, Any]) -> bytes:
    """The script for `values`; RenderError where a URL or an argument cannot stand in iPXE.

    `initrd=initrd` names the images for UEFI kernels, which look them up by these names; wimboot takes each file by its last argument. On failure
    the script says so, offers a shell and goes on to the firmware's next boot device after 30 s.
    """
    plan = boot_plan(values)
    words = (*plan.installer_args, *plan.user_args, *plan.trailer)
    named = [] if plan.wrapped else [f"initrd={name}" for name, _ in plan.beside]
    title = ipxe(plan.title)
    lines = [
        "#!ipxe",
        f"set kernel-url {ipxe(plan.kernel)}",
        f"echo Octofleet: installing {title}",
        "echo Kernel ${kernel-url}",
        "imgfree",
        f"{' '.join(['kernel ${kernel-url}', *named, *(ipxe(word) for word in words)])} || goto failed",
    ]
    for name, url in plan.beside:
        lines.append(f"initrd --name {name} {ipxe(url)}{f' {name}' if plan.wrapped else ''} || goto failed")
    lines += [
        "boot || goto failed",
        "",
        ":failed",
        f"echo Octofleet: the installer of {title} did not start",
        "prompt --key s --timeout 30000 Press s for a shell, or wait 30 s for the next boot device && shell ||",
        "exit 1",
    ]
    return ("\n".join(lines) + "\n").encode()


RENDERER = Renderer(format="ipxe", version=2, filename="boot.ipxe", uses=USES, serves=has_installer, render=render)
