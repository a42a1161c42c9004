"""The boot server over HTTP: `/boot/ipxe` for the decision, `/i/TOKEN/...` for an armed host's files and its installer's word, loaders and media.

Only provisioning networks are answered. Nothing in a path ever reaches the file system: loaders and media are looked up among what was found at the start.
"""

import re
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Any, BinaryIO
from urllib.parse import parse_qsl

from aiohttp import web

from reconciler.boot.asked import Asked, asked
from reconciler.boot.dhcp import SCRIPT
from reconciler.boot.media import Media
from reconciler.boot.menus import Menus
from reconciler.boot.server import BootServer, heard_of
from reconciler.errors import OctofleetError, Refused
from reconciler.events import Repeated, happened
from reconciler.server.connection import stay_open
from reconciler.server.proxies import is_trusted, plain
from reconciler.settings_http import Networks
from reconciler.store.connection import Unavailable
from renderers.grub_menu import local_boot as grub_local
from renderers.ipxe_menu import local_boot as ipxe_local

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
BODY_MOST = 131_072
"""A log and facts of 16 KiB each, of which every byte may be three, and keys."""
FIELDS_MOST = 32
_TOKEN = re.compile(r"[0-9A-Fa-f]{32,}")
TEXT = "text/plain; charset=utf-8"
BY_MAC = b"source $prefix/grub.cfg-01-$net_default_mac\n"
"""Debian's signed GRUB asks for one name alone, and knows its address."""
ENTRY = f"#!ipxe\nchain --replace --autofree {SCRIPT.removeprefix('/boot/')}\n".encode()
"""For a DHCP server that has no room for more than the address: iPXE asks again, and says who it is."""
PLAIN = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


class Web:
    """The routes of one listener; `secure`: it is HTTPS."""

    def __init__(self, boot: BootServer, media: Media, networks: Networks, menus: Menus, *, secure: bool) -> None:
        self._boot, self._media, self._networks, self._menus, self._secure = boot, media, networks, menus, secure
        self._refusals = Repeated()

    def app(self) -> web.Application:
        """The application."""
        app = web.Application(client_max_size=BODY_MOST, middlewares=[self._only_networks])
        app.router.add_get("/boot/ipxe", self._ipxe, allow_head=False)
        app.router.add_post("/boot/ipxe", self._ipxe)
        app.router.add_get("/boot/grub/{name}", self._grub, allow_head=False)
        app.router.add_get("/i/{token}/{tenant}/{host}/{filename:.+}", self._file, allow_head=False)
        app.router.add_post("/i/{token}/callback", self._callback)
        app.router.add_get("/boot/loader/{name:.+}", self._loader)
        app.router.add_get("/boot/{name:ca[.](?:crt|gz)}", self._loader)
        app.router.add_get("/media/{name:.+}", self._medium)
        return app

    @web.middleware
    async def _only_networks(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if not within(request.remote or "", self._networks):
            self._refuse(request, "not from a provisioning network")
            return web.Response(status=403)
        try:
            return await handler(request)
        except OctofleetError as error:
            self._refuse(request, error.message)
            return web.Response(status=503, text="this cannot be answered now; ask again\n", headers={"Retry-After": "5"})

    async def _ipxe(self, request: web.Request) -> web.Response:
        said = {**request.query, **(await _form(request) if request.method == "POST" else {})}
        return _text(await self.ipxe(asked(said), _address(request)) if said else ENTRY)

    async def ipxe(self, who: Asked, address: str) -> bytes:
        """The script for a machine. Raises `OctofleetError`: nothing can be told now, and firmware goes on to what it boots otherwise."""
        found = await self._boot.decision(who, address)
        if found.installation is None:
            return self._menus.answer(found, who)
        try:
            return await self._boot.script(found.installation, "ipxe", secure=self._secure)
        except OctofleetError as error:
            happened("boot-refused", why=error.message, address=address, path="/boot/ipxe")
            return ipxe_local(who.firmware)

    async def _grub(self, request: web.Request) -> web.Response:
        data = await self.grub(request.match_info["name"], _address(request))
        return _text(data) if data is not None else web.Response(status=404)

    async def grub(self, name: str, address: str) -> bytes | None:
        """GRUB's configuration by the name that it asks for: `grub.cfg`, which leads to `grub.cfg-01-` and its MAC address. None for other names. Raises
        `OctofleetError`."""
        if not name.startswith("grub.cfg-01-"):
            return BY_MAC if name == "grub.cfg" else None
        who = asked({"mac": name.removeprefix("grub.cfg-01-"), "platform": "efi"}, "grub")
        if not who.mac:
            return None
        found = await self._boot.decision(who, address)
        if found.installation is None:
            return self._menus.answer(found, who)
        try:
            return await self._boot.script(found.installation, "grub", secure=self._secure)
        except OctofleetError as error:
            happened("boot-refused", why=error.message, address=address, path=f"/boot/grub/{name}")
            return grub_local("uefi")

    async def _file(self, request: web.Request) -> web.Response:
        part = request.match_info
        try:
            data = await self._boot.answer(
                part["token"], part["tenant"], part["host"], part["filename"], _address(request), secure=self._secure
            )
        except Unavailable:
            raise
        except Refused as error:
            self._refuse(request, error.message)
            return web.Response(status=404 if error.code == "no-file" else 403, text=f"{error.message}\n")
        except OctofleetError as error:
            self._refuse(request, error.message)
            return web.Response(status=500, text="this file cannot be made; the server's log says why\n")
        return _text(data)

    async def _callback(self, request: web.Request) -> web.Response:
        form = await _form(request)
        try:
            said = heard_of(form)
        except OctofleetError as error:
            return web.Response(status=400, text=f"{error.message}: {error.hint}\n")
        try:
            state = await self._boot.heard(request.match_info["token"], said, _address(request))
        except Refused as error:
            self._refuse(request, error.message)
            return web.Response(status=410 if error.code == "ended" else 404, text=f"{error.message}\n")
        return web.Response(text=f"{state}\n", headers=PLAIN)

    async def _loader(self, request: web.Request) -> web.Response:
        data = self._media.loader(request.match_info["name"])
        if data is None:
            return web.Response(status=404)
        return web.Response(body=data, content_type="application/octet-stream", headers={"X-Content-Type-Options": "nosniff"})

    async def _medium(self, request: web.Request) -> web.StreamResponse:
        file = await self._media.open(request.match_info["name"])
        if file is None:
            return web.Response(status=404)
        stay_open(request)
        return _Opened(file)

    def _refuse(self, request: web.Request, why: str) -> None:
        """The log has the path without what may be a token, wherever it stands."""
        shown = "".join(char if char.isprintable() else "?" for char in _TOKEN.sub("*", request.path))
        self._refusals.happened("boot-refused", why=why, address=_address(request), path=shown[:200])


class _Opened(web.FileResponse):
    """A file that is open already, whatever its name leads to by now; neither a compressed one beside it nor its type is looked for."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(f"/proc/self/fd/{file.fileno()}", chunk_size=1 << 18, headers={"X-Content-Type-Options": "nosniff"})
        self.content_type = "application/octet-stream"
        self._file = file

    async def prepare(self, request: web.BaseRequest) -> Any:
        """Send it."""
        with self._file:
            return await super().prepare(request)


@lru_cache(maxsize=1 << 14)
def within(address: str, networks: Networks) -> bool:
    """Whether an address is in any of the networks."""
    try:
        return is_trusted(plain(address), networks)
    except ValueError:
        return False


def _address(request: web.Request) -> str:
    """Who asks; IPv4 also where the socket has it as IPv6."""
    return plain(request.remote or "")


async def _form(request: web.Request) -> dict[str, str]:
    """The fields of a form as browsers and curl send it (WHATWG URL, application/x-www-form-urlencoded), the first of each name; what is no UTF-8 is
    replaced."""
    body = await request.read()
    try:
        fields = parse_qsl(body.decode("ascii", errors="replace"), keep_blank_values=True, errors="replace", max_num_fields=FIELDS_MOST)
    except ValueError:
        return {}
    return dict(reversed(fields))


def _text(data: bytes) -> web.Response:
    return web.Response(body=data, headers={"Content-Type": TEXT, **PLAIN})
