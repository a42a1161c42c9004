"""What TFTP serves, by name: boot loaders, GRUB's configuration of the machine that asks, an entry script for iPXE, and small media.

GRUB asks for `grub/grub.cfg`, which leads to `grub/grub.cfg-01-52:54:00:12:34:56`. Whose configuration is not made yet is told nothing: GRUB asks again,
and has it then. How many are made at once, and how many kept, is bounded: who is over that is told nothing either.
"""

import asyncio
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from time import monotonic

from reconciler.boot.dhcp import SCRIPT
from reconciler.boot.media import Media
from reconciler.boot.tftp import Later
from reconciler.errors import OctofleetError
from reconciler.events import Repeated
from reconciler.server.refused import unforeseen

KEPT_S = 5.0
MADE_MOST, MAKING_MOST = 16_384, 256
MEDIUM_MOST = 128 * 1024 * 1024
_GRUB = re.compile(r"grub\.cfg(-01-([0-9a-fA-F]{2}[:-]){5}[0-9a-fA-F]{2})?")
Grub = Callable[[str, str], Awaitable[bytes | None]]
"""GRUB's configuration by the name that it asks for, and the asker's address; None where there is none of that name."""


class Tree:
    """`find` is called in the event loop. `url`: how machines reach us by HTTP."""

    def __init__(self, media: Media, grub: Grub, url: str) -> None:
        self._media, self._grub, self._url = media, grub, url
        self._made: OrderedDict[tuple[str, str], tuple[float, bytes | None]] = OrderedDict()
        self._looking: asyncio.Task[None] | None = None
        self._refusals = Repeated()
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
        return self._medium(name.removeprefix("media/")) if name.startswith("media/") else None

    def _medium(self, name: str) -> bytes | None:
        if self._media.is_due(name):
            if self._looking is None or self._looking.done():
                self._looking = asyncio.create_task(asyncio.to_thread(self._media.look))
            raise Later
        return self._media.content(name, MEDIUM_MOST)

    def _configuration(self, name: str, address: str) -> bytes | None:
        if not _GRUB.fullmatch(name):
            return None
        key, now = (name, address), monotonic()
        while self._made and now - next(iter(self._made.values()))[0] >= KEPT_S:
            self._made.popitem(last=False)
        if key in self._made:
            return self._made[key][1]
        if key not in self._making and len(self._making) < MAKING_MOST and len(self._made) < MADE_MOST:
            self._making[key] = asyncio.create_task(self._make(key))
        raise Later

    async def _make(self, key: tuple[str, str]) -> None:
        try:
            self._made[key] = (monotonic(), await self._grub(*key))
        except OctofleetError as error:
            self._refusals.happened("boot-refused", why=error.message, address=key[1], path=key[0])
        except Exception as error:  # noqa: BLE001 - nobody waits for the task
            unforeseen("grub.cfg", error)
        finally:
            del self._making[key]
