"""What a machine is answered that installs nothing: the menu of its Fleet, that it is proposed as a host, or its disk."""

from typing import Literal

from reconciler.boot.asked import Asked, discovering
from reconciler.boot.decision import Boot, Decision
from reconciler.boot.dhcp import SCRIPT
from reconciler.boot.discovery import Discovery
from reconciler.boot.picture import Picture
from reconciler.events import Repeated
from renderers import grub_menu, ipxe_menu
from renderers.contract import RenderError
from renderers.fleet_menu import Site, fleet_menu

PATH = SCRIPT.partition("?")[0]


class Menus:
    """`url`: where machines reach us by HTTP, without a slash at the end. Called in event loops: it waits for nothing."""

    def __init__(self, picture: Picture, discovery: Discovery, url: str) -> None:
        self._picture, self._discovery, self._url = picture, discovery, url
        self._broken = Repeated()

    def answer(self, found: Decision, who: Asked) -> bytes:
        """A script for the loader that asks. Who gets no menu, or a broken one, boots from its disk."""
        loader: Literal["ipxe", "grub"] = "grub" if who.loader == "grub" else "ipxe"
        refuse = grub_menu.refuse if loader == "grub" else ipxe_menu.refuse
        local_boot = grub_menu.local_boot if loader == "grub" else ipxe_menu.local_boot
        if found.boot is Boot.DISCOVER:
            return refuse(self._discovery.asked(who))
        menu = self._picture.of_fleet(found.machine.source if found.machine else "", "menu") if found.boot is Boot.MENU else None
        if menu is None:
            return local_boot(who.firmware)
        site = Site(loaders=f"{self._url}/boot/loader", discover=f"{self._url}{PATH}?{discovering(who)}")
        try:
            return fleet_menu(menu[1], found.machine.default if found.machine else "", loader, who.firmware, site)
        except RenderError as error:
            self._broken.happened("menu-broken", fleet=menu[0], why=str(error), loader=loader)
            return local_boot(who.firmware)
