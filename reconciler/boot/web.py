"""The boot server over HTTP: `/boot/ipxe` for the decision, `/i/TOKEN/...` for an armed host's files and its installer's word, loaders and media.

Only provisioning networks are answered. Nothing in a path ever reaches the file system: loaders and media are looked up among what was found at the start.
"""

from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

from reconciler.boot.asked import Asked, asked
from reconciler.boot.decision import Boot, Decision
from reconciler.boot.dhcp import SCRIPT
from reconciler.boot.media import Media
from reconciler.boot.server import BootServer, heard_of
from reconciler.errors import OctofleetError, Refused
from reconciler.events import Repeated, happened
from reconciler.server.connection import stay_open
from reconciler.server.proxies import is_trusted, plain
from reconciler.settings_http import Networks
from renderers.grub_menu import local_boot as grub_local
from renderers.ipxe_menu import local_boot as ipxe_local

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
BODY_MOST = 65_536
TEXT = "text/plain; charset=utf-8"
BY_MAC = b"source $prefix/grub.cfg-01-$net_default_mac\n"
"""Debian's signed GRUB asks for one name alone, and knows its address."""
ENTRY = f"#!ipxe\nchain --replace --autofree {SCRIPT.removeprefix('/boot/')}\n".encode()
"""For a DHCP server that has no room for more than the address: iPXE asks again, and says who it is."""
PLAIN = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


class Web:
    """The routes of one listener; `secure`: it is HTTPS."""

    def __init__(
        self, boot: BootServer, media: Media, networks: Networks, *, secure: bool, menu: Callable[[Decision, Asked], bytes]
    ) -> None:
        self._boot, self._media, self._networks, self._secure, self._menu = boot, media, networks, secure, menu
        self._refusals = Repeated()

    def app(self) -> web.Application:
        """The application."""
        app = web.Application(client_max_size=BODY_MOST, middlewares=[self._only_networks])
        app.router.add_get("/boot/ipxe", self._ipxe)
        app.router.add_post("/boot/ipxe", self._ipxe)
        app.router.add_get("/boot/grub/{name}", self._grub)
        app.router.add_get("/i/{token}/{tenant}/{host}/{filename:.+}", self._file)
        app.router.add_post("/i/{token}/callback", self._callback)
        app.router.add_get("/boot/loader/{name:.+}", self._loader)
        app.router.add_get("/boot/{name:ca[.](?:crt|gz)}", self._loader)
        app.router.add_get("/media/{name:.+}", self._medium)
        return app

    @web.middleware
    async def _only_networks(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if not within(request.remote or "", self._networks):
            self._refuse(request, "not from a provisioning network")
            return web.Response(status=403, text="this address is in no provisioning network\n")
        return await handler(request)

    async def _ipxe(self, request: web.Request) -> web.Response:
        said: Mapping[str, str] = {
            **request.query,
            **({k: str(v) for k, v in (await request.post()).items()} if request.method == "POST" else {}),
        }
        if not said:
            return _text(ENTRY)
        return _text(await self.ipxe(asked(said), request.remote or ""))

    async def ipxe(self, who: Asked, address: str) -> bytes:
        """The script for a machine."""
        found = await self._boot.decision(who, address)
        if found.installation is not None:
            try:
                return await self._boot.script(found.installation, "ipxe", secure=self._secure)
            except OctofleetError as error:
                happened("boot-refused", why=error.message, address=address, path="/boot/ipxe")
                return ipxe_local(who.firmware)
        return ipxe_local(who.firmware) if found.boot is Boot.LOCAL else self._menu(found, who)

    async def _grub(self, request: web.Request) -> web.Response:
        data = await self.grub(request.match_info["name"], request.remote or "")
        return _text(data) if data is not None else web.Response(status=404)

    async def grub(self, name: str, address: str) -> bytes | None:
        """GRUB's configuration by the name that it asks for: `grub.cfg`, which leads to `grub.cfg-01-` and its MAC address. None for other names."""
        if not name.startswith("grub.cfg-01-"):
            return BY_MAC if name == "grub.cfg" else None
        who = asked({"mac": name.removeprefix("grub.cfg-01-"), "platform": "efi"}, "grub")
        if not who.mac:
            return None
        found = await self._boot.decision(who, address)
        if found.installation is None:
            return grub_local("uefi")
        try:
            return await self._boot.script(found.installation, "grub", secure=self._secure)
        except OctofleetError as error:
            happened("boot-refused", why=error.message, address=address, path=f"/boot/grub/{name}")
            return grub_local("uefi")

    async def _file(self, request: web.Request) -> web.Response:
        part = request.match_info
        try:
            data = await self._boot.answer(
                part["token"], part["tenant"], part["host"], part["filename"], request.remote or "", secure=self._secure
            )
        except Refused as error:
            self._refuse(request, error.message)
            return web.Response(status=404 if error.code == "no-file" else 403, text=f"{error.message}\n")
        except OctofleetError as error:
            self._refuse(request, error.message)
            return web.Response(status=500, text="this file cannot be made; the server's log says why\n")
        return _text(data)

    async def _callback(self, request: web.Request) -> web.Response:
        form = {key: value for key, value in (await request.post()).items() if isinstance(value, str)}
        try:
            state = await self._boot.heard(request.match_info["token"], heard_of(form), request.remote or "")
        except Refused as error:
            self._refuse(request, error.message)
            return web.Response(status=410 if error.code == "ended" else 404, text=f"{error.message}\n")
        except OctofleetError as error:
            return web.Response(status=400, text=f"{error.message}: {error.hint}\n")
        return web.Response(text=f"{state}\n", headers=PLAIN)

    async def _loader(self, request: web.Request) -> web.Response:
        data = self._media.loader(request.match_info["name"])
        if data is None:
            return web.Response(status=404)
        return web.Response(body=data, content_type="application/octet-stream", headers={"X-Content-Type-Options": "nosniff"})

    async def _medium(self, request: web.Request) -> web.StreamResponse:
        path = self._media.path(request.match_info["name"])
        if path is None:
            return web.Response(status=404)
        stay_open(request)
        return web.FileResponse(path, chunk_size=1 << 18)

    def _refuse(self, request: web.Request, why: str) -> None:
        """The log has the path without the token."""
        path = request.path.split("/")
        shown = "/".join([*path[:2], "*", *path[3:]]) if path[1:2] == ["i"] else request.path
        self._refusals.happened("boot-refused", why=why, address=request.remote or "", path=shown[:200])


def within(address: str, networks: Networks) -> bool:
    """Whether an address is in any of the networks."""
    try:
        return is_trusted(plain(address), networks)
    except ValueError:
        return False


def _text(data: bytes) -> web.Response:
    return web.Response(body=data, headers={"Content-Type": TEXT, **PLAIN})
