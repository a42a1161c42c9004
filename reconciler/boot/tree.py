"""What TFTP serves, by name: boot loaders, GRUB's configuration of the machine that asks, an entry script for iPXE, and small media.

GRUB asks for `grub/grub.cfg`, which leads to `grub/grub.cfg-01-52:54:00:12:34:56`. Whose configuration is not made yet is told nothing: GRUB asks again,
and has it then.
"""

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic

from reconciler.boot.dhcp import SCRIPT
from reconciler.boot.media import Media
from reconciler.boot.tftp import Later

KEPT_S = 5.0
MEDIUM_MOST = 128 * 1024 * 1024
Grub = Callable[[str, str], Awaitable[bytes | None]]
"""GRUB's configuration by the name that it asks for, and the asker's address; None where there is none of that name."""


class Tree:
    """`find` is called in the event loop. `url`: how machines reach us by HTTP."""

    def __init__(self, media: Media, grub: Grub, url: str) -> None:
        self._media, self._grub, self._url = media, grub, url
        self._made: dict[tuple[str, str], tuple[float, bytes | None]] = {}
        self._making: dict[tuple[str, str], asyncio.Task[None]] = {}

    def find(self, name: str, address: str) -> bytes | None:
        """The content of a file for who asks. Raises `Later`."""
        loader = self._media.loader(name)
        if loader is not None:
            return loader
        last = name.rpartition("/")[2]
        if last == "autoexec.ipxe":
            return f"#!ipxe\nchain --replace --autofree {self._url}{SCRIPT}\n".encode()
        if last.startswith("grub.cfg"):
            return self._configuration(last, address)
        return self._media.content(name.removeprefix("media/"), MEDIUM_MOST) if name.startswith("media/") else None

    def _configuration(self, name: str, address: str) -> bytes | None:
        key, now = (name, address), monotonic()
        self._made = {of: made for of, made in self._made.items() if now - made[0] < KEPT_S}
        if key in self._made:
            return self._made[key][1]
        if key not in self._making:
            self._making[key] = asyncio.create_task(self._make(key))
        raise Later

    async def _make(self, key: tuple[str, str]) -> None:
        try:
            self._made[key] = (monotonic(), await self._grub(*key))
        finally:
            del self._making[key]
