"""Every format that Octofleet renders, by name, and the names of the contract.

In: nothing. Out: `RENDERERS`. Must not import anything lazily or register at run time: what is here is all there is.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from renderers import autoinstall, grub, ipxe, kickstart, meta_data, network_config, preseed, user_data
from renderers.contract import Renderer, RenderError, Value

__all__ = ["RENDERERS", "RenderError", "Renderer", "Value"]

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
        )
    }
)
