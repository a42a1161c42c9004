"""The answer file of Windows Setup, for Windows 10 and later and Windows Server 2016 and later.

In: `values`. Out: unattend.xml, which holds passwords: a boot server hands it to the armed machine alone. Must not choose a disk:
`windows.diskId` names it. Sources: Microsoft, "Unattended Windows Setup Reference" (components, settings, configuration passes).
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Interface
from typing import Any

from renderers import escape, inputs, windows, xml
from renderers.contract import Renderer, RenderError
from renderers.reader import Node
from renderers.startnet import REPORT
from renderers.windows import Account, Windows
from renderers.xml import Element, element

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_ADD = "add"


class _Pass:
    """One configuration pass, to which components are added in order."""

    def __init__(self, root: Element, name: str, architecture: str) -> None:
        self._settings = element(root, "settings", **{"pass": name})
        self._architecture = architecture

    def component(self, name: str) -> Element:
        return element(
            self._settings,
            "component",
            name=name,
            processorArchitecture=self._architecture,
            publicKeyToken="31bf3856ad364e35",
            language="neutral",
            versionScope="nonSxS",
        )


def render(values: Mapping[str, Any]) -> bytes:
    """The answer file; RenderError for what Setup would stop at, or cannot do."""
    host, install, told = inputs.machine(values), inputs.install(values), windows.windows(values)
    if not install.accepted:
        raise RenderError("/install/acceptLicense", "Windows installs only where its licence terms are accepted: read them and set true")
    if Node(values)["disk"]:
        raise RenderError("/disk", "Windows knows disks by their number: remove disk, and set windows.diskId")
    if len(host.name) > 15:
        raise RenderError("/name", f"{host.name} has more than the 15 characters of a Windows computer name: rename the host")
    root = Element(
        "unattend", {"xmlns": "urn:schemas-microsoft-com:unattend", "xmlns:wcm": "http://schemas.microsoft.com/WMIConfig/2002/State"}
    )
    architecture = _ARCHITECTURES[host.architecture]
    _setup(_Pass(root, "windowsPE", architecture), values, install, told)
    _specialize(_Pass(root, "specialize", architecture), values, host, told)
    _first_start(_Pass(root, "oobeSystem", architecture), values, install, told)
    return xml.document(root)


def _international(made: Element, values: Mapping[str, Any]) -> None:
    language = windows.language(values)
    for name, text in (
        ("InputLocale", windows.keyboard(values)),
        ("SystemLocale", language),
        ("UILanguage", language),
        ("UserLocale", language),
    ):
        element(made, name, text)


def _setup(phase: _Pass, values: Mapping[str, Any], install: inputs.Install, told: Windows) -> None:
    international = phase.component("Microsoft-Windows-International-Core-WinPE")
    element(element(international, "SetupUILanguage"), "UILanguage", windows.language(values))
    _international(international, values)
    if told.drivers:
        paths = element(phase.component("Microsoft-Windows-PnpCustomizationsWinPE"), "DriverPaths")
        for index, path in enumerate(told.drivers, 1):
            place = element(paths, "PathAndCredentials", wcm__action=_ADD, wcm__keyValue=str(index))
            _credentials(place, told.share)
            element(place, "Path", path)
    setup = phase.component("Microsoft-Windows-Setup")
    target = _disk(setup, values, told)
    image = element(element(setup, "ImageInstall"), "OSImage")
    if install.image is None or not install.image.startswith("smb://"):
        raise RenderError("/install/image", "missing: where Windows Setup finds the image, as smb://server/share/sources/install.wim")
    source = element(image, "InstallFrom")
    _credentials(source, told.share)
    chosen = element(source, "MetaData", wcm__action=_ADD)
    element(chosen, "Key", "/IMAGE/NAME" if told.edition else "/IMAGE/INDEX")
    element(chosen, "Value", told.edition or str(told.image_index))
    element(source, "Path", windows.unc(install.image))
    to = element(image, "InstallTo")
    element(to, "DiskID", told.disk_id)
    element(to, "PartitionID", target)
    element(image, "WillShowUI", "OnError")
    user = element(setup, "UserData")
    element(user, "AcceptEula", True)
    if told.organization:
        element(user, "Organization", told.organization)
    if told.product_key:
        key = element(user, "ProductKey")
        element(key, "Key", told.product_key)
        element(key, "WillShowUI", "OnError")


def _credentials(parent: Element, share: Account | None) -> None:
    if share is not None:
        made = element(parent, "Credentials")
        element(made, "Password", share.password)
        element(made, "Username", share.name)


def _disk(setup: Element, values: Mapping[str, Any], told: Windows) -> int:
    """The whole disk; the number of the partition that Windows goes to, which is its drive C."""
    firmware = Node(values)["firmware"].text("bios|uefi", "bios or uefi", why="say bios or uefi: the partitions depend on it")
    parts: tuple[tuple[str, int | None, str, str], ...]
    if firmware == "uefi":
        parts = (("EFI", 260, "FAT32", "System"), ("MSR", 16, "", ""), ("Primary", None, "NTFS", "Windows"))
    else:
        parts = (("Primary", 500, "NTFS", "System"), ("Primary", None, "NTFS", "Windows"))
    configuration = element(setup, "DiskConfiguration")
    disk = element(configuration, "Disk", wcm__action=_ADD)
    created = element(disk, "CreatePartitions")
    for order, (kind, megabytes, _format, _label) in enumerate(parts, 1):
        part = element(created, "CreatePartition", wcm__action=_ADD)
        if megabytes is None:
            element(part, "Extend", True)
        element(part, "Order", order)
        if megabytes is not None:
            element(part, "Size", megabytes)
        element(part, "Type", kind)
    element(disk, "DiskID", told.disk_id)
    modified = element(disk, "ModifyPartitions")
    for order, (_kind, _megabytes, format, label) in enumerate(parts, 1):
        part = element(modified, "ModifyPartition", wcm__action=_ADD)
        if firmware == "bios" and label == "System":
            element(part, "Active", True)
        if format:
            element(part, "Format", format)
            element(part, "Label", label)
        if label == "Windows":
            element(part, "Letter", "C")
        element(part, "Order", order)
        element(part, "PartitionID", order)
    element(disk, "WillWipeDisk", True)
    element(configuration, "WillShowUI", "OnError")
    return len(parts)


def _specialize(phase: _Pass, values: Mapping[str, Any], host: inputs.Machine, told: Windows) -> None:
    _international(phase.component("Microsoft-Windows-International-Core"), values)
    shell = phase.component("Microsoft-Windows-Shell-Setup")
    element(shell, "ComputerName", host.name)
    element(shell, "TimeZone", windows.zone(values))
    if told.domain is not None:
        identification = element(phase.component("Microsoft-Windows-UnattendedJoin"), "Identification")
        join = element(identification, "Credentials")
        element(join, "Domain", told.domain.name)
        element(join, "Password", told.domain.join.password)
        element(join, "Username", told.domain.join.name)
        element(identification, "JoinDomain", told.domain.name)
        if told.domain.unit:
            element(identification, "MachineObjectOU", told.domain.unit)
    elif told.workgroup is not None:
        element(element(phase.component("Microsoft-Windows-UnattendedJoin"), "Identification"), "JoinWorkgroup", told.workgroup)
    nics = [nic for nic in inputs.interfaces(values) if nic.address is not None]
    if nics:
        _addresses(phase.component("Microsoft-Windows-TCPIP"), nics)
    named = [nic for nic in nics if nic.nameservers]
    if named:
        _name_servers(phase.component("Microsoft-Windows-DNS-Client"), named)


def _identifier(nic: inputs.Interface) -> str:
    if nic.vlan is not None:
        raise RenderError(f"{nic.pointer}/network", "Windows Setup knows no VLANs: use an untagged network, or configure it later")
    if nic.mac is None:
        raise RenderError(f"{nic.pointer}/mac", "missing: Windows Setup finds an interface with a fixed address by its MAC address")
    return nic.mac.replace(":", "-").upper()


def _addresses(component: Element, nics: list[inputs.Interface]) -> None:
    interfaces = element(component, "Interfaces")
    for nic in nics:
        assert nic.address is not None  # noqa: S101 - the caller chose these
        four = isinstance(nic.address, IPv4Interface)
        made = element(interfaces, "Interface", wcm__action=_ADD)
        element(made, "Identifier", _identifier(nic))
        for version in ("Ipv4Settings", "Ipv6Settings"):
            if (version == "Ipv4Settings") == four:
                element(element(made, version), "DhcpEnabled", nic.dhcp4 and four)
        if nic.gateway is not None:
            route = element(element(made, "Routes"), "Route", wcm__action=_ADD)
            element(route, "Identifier", "1")
            element(route, "NextHopAddress", str(nic.gateway))
            element(route, "Prefix", "0.0.0.0/0" if nic.gateway.version == 4 else "::/0")
        element(element(made, "UnicastIpAddresses"), "IpAddress", str(nic.address), wcm__action=_ADD, wcm__keyValue="1")


def _name_servers(component: Element, nics: list[inputs.Interface]) -> None:
    search = list(dict.fromkeys(name for nic in nics for name in nic.search))
    if search:
        order = element(component, "DNSSuffixSearchOrder")
        for index, name in enumerate(search, 1):
            element(order, "DomainName", name, wcm__action=_ADD, wcm__keyValue=str(index))
    interfaces = element(component, "Interfaces")
    for nic in nics:
        made = element(interfaces, "Interface", wcm__action=_ADD)
        servers = element(made, "DNSServerSearchOrder")
        for index, server in enumerate(nic.nameservers, 1):
            element(servers, "IpAddress", server, wcm__action=_ADD, wcm__keyValue=str(index))
        element(made, "Identifier", _identifier(nic))


def _first_start(phase: _Pass, values: Mapping[str, Any], install: inputs.Install, told: Windows) -> None:
    _international(phase.component("Microsoft-Windows-International-Core"), values)
    shell = phase.component("Microsoft-Windows-Shell-Setup")
    commands: list[tuple[str, str | None]] = [*told.first_logon]
    if install.callback is not None:
        commands.append((f"powershell.exe -NoProfile -ExecutionPolicy Bypass -File {REPORT}", "Report to Octofleet"))
    if commands:
        logon = element(shell, "AutoLogon")
        element(logon, "Domain", ".")  # the machine itself, also in a domain
        element(logon, "Enabled", True)
        element(logon, "LogonCount", 1)
        _secret(logon, "Password", told.administrator)
        element(logon, "Username", "Administrator")
        listed = element(shell, "FirstLogonCommands")
        for order, (command, description) in enumerate(commands, 1):
            made = element(listed, "SynchronousCommand", wcm__action=_ADD)
            element(made, "CommandLine", command)
            if description:
                element(made, "Description", description)
            element(made, "Order", order)
    oobe = element(shell, "OOBE")
    for name in ("HideEULAPage", "HideOnlineAccountScreens", "HideWirelessSetupInOOBE"):
        element(oobe, name, True)
    element(oobe, "ProtectYourPC", 3)
    if told.organization:
        element(shell, "RegisteredOrganization", told.organization)
    accounts = element(shell, "UserAccounts")
    _secret(accounts, "AdministratorPassword", told.administrator)
    if not told.users:
        return
    local = element(accounts, "LocalAccounts")
    for user in told.users:
        made = element(local, "LocalAccount", wcm__action=_ADD)
        if user.display:
            element(made, "DisplayName", user.display)
        element(made, "Group", ";".join(escape.xml(group) for group in user.groups) or "Users")
        element(made, "Name", user.account.name)
        _secret(made, "Password", user.account.password)


def _secret(parent: Element, name: str, password: str) -> None:
    made = element(parent, name)
    element(made, "PlainText", True)
    element(made, "Value", password)


RENDERER = Renderer(
    format="unattend",
    version=1,
    filename="unattend.xml",
    uses=("name", "tenant", "fqdn", "os", "install", "locale", "timezone", "keyboard", "interfaces", "disk", "firmware", "windows"),
    serves=lambda values: inputs.has_installer(values) and inputs.distribution(values) == "windows",
    render=render,
)
