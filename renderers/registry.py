"""Every format that Octofleet renders, by name, and the names of the contract.

In: nothing. Out: `RENDERERS`. Must not import anything lazily or register at run time: what is here is all there is.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

from renderers import (
    autoinstall,
    autoyast,
    esxi,
    esxi_boot,
    grub,
    ipxe,
    kickstart,
    meta_data,
    network_config,
    preseed,
    startnet,
    unattend,
    user_data,
    windows_report,
)
from renderers.contract import Renderer, RenderError, Value
from renderers.inputs import distribution, has_callback, has_installer

__all__ = ["RENDERERS", "RenderError", "Renderer", "Value", "serving"]

RENDERERS: Mapping[str, Renderer] = MappingProxyType(
    {
        renderer.format: renderer
        for renderer in (
            ipxe.RENDERER,
            grub.RENDERER,
            kickstart.RENDERER,
            preseed.RENDERER,
            autoinstall.RENDERER,
            meta_data.AUTOINSTALL_RENDERER,
            user_data.RENDERER,
            meta_data.RENDERER,
            network_config.RENDERER,
            autoyast.RENDERER,
            unattend.RENDERER,
            startnet.RENDERER,
            startnet.SHELL_RENDERER,
            windows_report.RENDERER,
            esxi.RENDERER,
            esxi_boot.RENDERER,
        )
    }
)


def serving(values: Mapping[str, Any]) -> frozenset[str]:
    """The formats that a host gets without asking: those whose `serves` says so, which depends on nothing but what sets the
    host up, whether it reports, and its distribution."""
    return _serving(has_installer(values), has_callback(values), distribution(values))


@cache
def _serving(installer: bool, callback: bool, name: str) -> frozenset[str]:
    install = {**({"source": "-"} if installer else {}), **({"callback": "-"} if callback else {})}
    values = {"install": install, "os": {"distribution": name}}
    return frozenset(renderer.format for renderer in RENDERERS.values() if renderer.serves(values))
