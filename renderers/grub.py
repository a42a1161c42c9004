"""The GRUB configuration that starts a host's installer, for machines that boot GRUB from the network (UEFI with Secure Boot).

In: `values`. Out: grub.cfg. Must not fetch over https: GRUB cannot. Sources: GRUB manual, "The list of network commands", "Quoting",
`linux`, `menuentry`; a port in `(http,host:port)` needs GRUB 2.12 or a distribution's patch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from renderers.contract import Renderer, RenderError, pointer_of
from renderers.escape import grub, grub_kernel_arg
from renderers.inputs import UNLIKE_LINUX, distribution, has_installer
from renderers.netboot import USES, boot_plan


def render(values: Mapping[str, Any]) -> bytes:
    """The configuration for `values`; RenderError where a URL is https or an argument cannot pass GRUB."""
    plan = boot_plan(values)
    if plan.wrapped or not plan.beside:
        raise RenderError("/os/distribution", "GRUB cannot start this installer: let the machine boot iPXE")
    kernel = device_path(plan.kernel, "/install/kernel")
    url = plan.beside[0][1]
    initrds = " ".join(device_path(one, "/install/initrd") for _, one in plan.beside)
    args = " ".join(grub_kernel_arg(argument) for argument in (*plan.installer_args, *plan.user_args, *plan.trailer))
    title = grub(f"Install {plan.title}")
    lines = [
        "set default=0",
        "set timeout=5",
        f"menuentry {title} {{",
        f"    echo {grub(f'Loading the kernel from {plan.kernel}')}",
        f"    linux {kernel} {args}",
        f"    echo {grub(f'Loading the initrd from {url}')}",
        f"    initrd {initrds}",
        "}",
    ]
    return ("\n".join(lines) + "\n").encode()


def device_path(url: str, field: str = "") -> str:
    """A URL as GRUB spells it; RenderError for one that it cannot fetch, which names the URL's own field, or else `field` as its remedy."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "tftp"}:
        remedy = f", here or in {field.strip('/').replace('/', '.')}" if field else ""
        raise RenderError(
            pointer_of(url) or (field and "/install/source"), f"GRUB cannot fetch {parts.scheme}: set an http or tftp URL{remedy}"
        )
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    return grub(f"({parts.scheme},{parts.netloc}){path}")


def serves(values: Mapping[str, Any]) -> bool:
    """Hosts whose installer is a Linux."""
    return has_installer(values) and distribution(values) not in UNLIKE_LINUX


RENDERER = Renderer(format="grub", version=2, filename="grub.cfg", uses=USES, serves=serves, render=render)
