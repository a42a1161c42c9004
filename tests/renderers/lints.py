"""Lints of formats that no program checks away from a machine: AutoYaST, Windows unattend.xml and batch, PowerShell, ESXi's ks.cfg and boot.cfg.

Written from the vendors' references: which elements and types (AutoYaST Guide), which components in which pass with which settings (Unattended
Windows Setup Reference), which commands with which options (VMware, Installation and Upgrade Script Commands). Each returns what is wrong.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Any

from lxml import etree

CONFIG = "{http://www.suse.com/1.0/configns}type"
YAST = "{http://www.suse.com/1.0/yast2ns}"
UNATTEND = "{urn:schemas-microsoft-com:unattend}"
WCM = "{http://schemas.microsoft.com/WMIConfig/2002/State}"


def read_xml(text: bytes) -> Any:
    """The root element; raises where a strict XML 1.0 parser does. No entity is resolved: there are none."""
    assert b"<!ENTITY" not in text and b"<![CDATA[" not in text and b"<!--" not in text
    return etree.fromstring(text, etree.XMLParser(resolve_entities=False, no_network=True))


def texts(root: Any) -> list[str]:
    """The text of every element that holds one."""
    return [element.text or "" for element in root.iter() if not len(element)]


def shape(element: Any) -> Any:
    """Names and attributes' names of an XML tree, which no value may change."""
    return (element.tag, sorted(element.attrib), [shape(child) for child in element])


# element -> its children; a list's children are named once.
# fmt: off
AUTOYAST: dict[str, set[str]] = {
    "profile": {
        "general",
        "language",
        "keyboard",
        "timezone",
        "networking",
        "partitioning",
        "bootloader",
        "software",
        "users",
        "ntp-client",
        "scripts",
    },
    "general": {"mode"},
    "mode": {"confirm", "final_halt", "final_reboot", "halt", "second_stage"},
    "language": {"language", "languages"},
    "keyboard": {"keymap"},
    "timezone": {"hwclock", "timezone"},
    "networking": {"keep_install_network", "dns", "interfaces", "net-udev", "routing"},
    "dns": {"hostname", "domain", "nameservers", "searchlist"},
    "nameservers": {"nameserver"},
    "searchlist": {"search"},
    "interfaces": {"interface"},
    "net-udev": {"rule"},
    "rule": {"name", "rule", "value"},
    "routing": {"routes"},
    "routes": {"route"},
    "interface": {"bootproto", "device", "startmode", "ipaddr", "prefixlen", "mtu", "etherdevice", "vlan_id"},
    "route": {"destination", "device", "gateway", "netmask"},
    "partitioning": {"drive"},
    "drive": {"device", "disklabel", "initialize", "type", "use", "partitions"},
    "partitions": {"partition"},
    "partition": {"filesystem", "format", "mount", "partition_id", "size", "lvm_group", "lv_name"},
    "bootloader": {"global", "loader_type"},
    "global": {"append"},
    "software": {"do_online_update", "products", "packages", "patterns"},
    "products": {"product"},
    "packages": {"package"},
    "patterns": {"pattern"},
    "users": {"user"},
    "user": {"authorized_keys", "encrypted", "user_password", "username"},
    "authorized_keys": {"listentry"},
    "ntp-client": {"ntp_servers", "ntp_sync"},
    "ntp_servers": {"ntp_server"},
    "ntp_server": {"address", "iburst"},
    "scripts": {"pre-scripts", "postpartitioning-scripts", "chroot-scripts"},
    "pre-scripts": {"script"},
    "postpartitioning-scripts": {"script"},
    "chroot-scripts": {"script"},
    "script": {"chrooted", "debug", "filename", "interpreter", "source"},
}
TYPES: dict[str, set[str]] = {
    "boolean": {
        "confirm",
        "final_halt",
        "final_reboot",
        "halt",
        "second_stage",
        "keep_install_network",
        "initialize",
        "format",
        "do_online_update",
        "encrypted",
        "iburst",
        "chrooted",
        "debug",
    },
    "integer": {"partition_id"},
    "symbol": {"filesystem", "drive/type"},
    "list": {
        "nameservers",
        "searchlist",
        "interfaces",
        "net-udev",
        "routes",
        "partitioning",
        "partitions",
        "products",
        "packages",
        "patterns",
        "users",
        "authorized_keys",
        "ntp_servers",
        "pre-scripts",
        "postpartitioning-scripts",
        "chroot-scripts",
    },
}
PLAIN = {"boolean": r"true|false", "integer": r"[0-9]+", "symbol": r"[A-Za-z0-9_]+"}

UNATTEND_SETTINGS: dict[str, dict[str, Any]] = {
    "windowsPE": {
        "Microsoft-Windows-International-Core-WinPE": ["SetupUILanguage", "InputLocale", "SystemLocale", "UILanguage", "UserLocale"],
        "Microsoft-Windows-PnpCustomizationsWinPE": ["DriverPaths"],
        "Microsoft-Windows-Setup": ["DiskConfiguration", "ImageInstall", "UserData"],
    },
    "specialize": {
        "Microsoft-Windows-International-Core": ["InputLocale", "SystemLocale", "UILanguage", "UserLocale"],
        "Microsoft-Windows-Shell-Setup": ["ComputerName", "TimeZone"],
        "Microsoft-Windows-UnattendedJoin": ["Identification"],
        "Microsoft-Windows-TCPIP": ["Interfaces"],
        "Microsoft-Windows-DNS-Client": ["DNSSuffixSearchOrder", "Interfaces"],
    },
    "oobeSystem": {
        "Microsoft-Windows-International-Core": ["InputLocale", "SystemLocale", "UILanguage", "UserLocale"],
        "Microsoft-Windows-Shell-Setup": ["AutoLogon", "FirstLogonCommands", "OOBE", "RegisteredOrganization", "UserAccounts"],
    },
}
UNATTEND_CHILDREN: dict[str, list[str]] = {
    "SetupUILanguage": ["UILanguage"],
    "DriverPaths": ["PathAndCredentials"],
    "PathAndCredentials": ["Credentials", "Path"],
    "Credentials": ["Domain", "Password", "Username"],
    "DiskConfiguration": ["Disk", "WillShowUI"],
    "Disk": ["CreatePartitions", "DiskID", "ModifyPartitions", "WillWipeDisk"],
    "CreatePartitions": ["CreatePartition"],
    "CreatePartition": ["Extend", "Order", "Size", "Type"],
    "ModifyPartitions": ["ModifyPartition"],
    "ModifyPartition": ["Active", "Format", "Label", "Letter", "Order", "PartitionID"],
    "ImageInstall": ["OSImage"],
    "OSImage": ["InstallFrom", "InstallTo", "WillShowUI"],
    "InstallFrom": ["Credentials", "MetaData", "Path"],
    "MetaData": ["Key", "Value"],
    "InstallTo": ["DiskID", "PartitionID"],
    "UserData": ["AcceptEula", "Organization", "ProductKey"],
    "ProductKey": ["Key", "WillShowUI"],
    "Identification": ["Credentials", "JoinDomain", "JoinWorkgroup", "MachineObjectOU"],
    "Interfaces": ["Interface"],
    "Interface": ["DNSServerSearchOrder", "Identifier", "Ipv4Settings", "Ipv6Settings", "Routes", "UnicastIpAddresses"],
    "Ipv4Settings": ["DhcpEnabled"],
    "Ipv6Settings": ["DhcpEnabled"],
    "Routes": ["Route"],
    "Route": ["Identifier", "NextHopAddress", "Prefix"],
    "UnicastIpAddresses": ["IpAddress"],
    "DNSServerSearchOrder": ["IpAddress"],
    "DNSSuffixSearchOrder": ["DomainName"],
    "AutoLogon": ["Domain", "Enabled", "LogonCount", "Password", "Username"],
    "Password": ["PlainText", "Value"],
    "FirstLogonCommands": ["SynchronousCommand"],
    "SynchronousCommand": ["CommandLine", "Description", "Order"],
    "OOBE": ["HideEULAPage", "HideOnlineAccountScreens", "HideWirelessSetupInOOBE", "ProtectYourPC"],
    "UserAccounts": ["AdministratorPassword", "LocalAccounts"],
    "AdministratorPassword": ["PlainText", "Value"],
    "LocalAccounts": ["LocalAccount"],
    "LocalAccount": ["DisplayName", "Group", "Name", "Password"],
}
ADDED = {
    "PathAndCredentials",
    "Disk",
    "CreatePartition",
    "ModifyPartition",
    "MetaData",
    "Interface",
    "Route",
    "SynchronousCommand",
    "LocalAccount",
    "IpAddress",
    "DomainName",
}
ESXI = {
    "vmaccepteula": set(),
    "install": {"--disk", "--firstdisk", "--overwritevmfs"},
    "rootpw": {"--iscrypted", ""},
    "keyboard": {""},
    "serialnum": {"--esx"},
    "reboot": set(),
    "network": {"--bootproto", "--ip", "--netmask", "--gateway", "--nameserver", "--hostname", "--device", "--vlanid", "--addvmportgroup"},
}
# fmt: on
ESXI_SECTIONS = {"%pre": {"--interpreter"}, "%post": {"--interpreter", "--ignorefailure"}, "%firstboot": {"--interpreter"}}


def check_autoyast(root: Any) -> list[str]:
    """Elements that AutoYaST does not know where they are, and types that it wants otherwise."""
    errors = [] if root.tag == f"{YAST}profile" else ["the root is no profile"]
    for element in root.iter():
        name = element.tag.removeprefix(YAST)
        parent = element.getparent()
        inside = "" if parent is None else parent.tag.removeprefix(YAST)
        if parent is not None and name not in AUTOYAST.get(inside, set()):
            errors.append(f"{inside} knows no {name}")
        of = [kind for kind, names in TYPES.items() if name in names or f"{inside}/{name}" in names]
        if inside == "users" or (name == inside and name in ("language", "timezone", "rule")):
            of = []
        if element.get(CONFIG) != (of[0] if of else None):
            errors.append(f"{name} has the type {element.get(CONFIG)}")
        if of and of[0] in PLAIN and not re.fullmatch(PLAIN[of[0]], element.text or ""):
            errors.append(f"{name} is no {of[0]}: {element.text}")
    return errors


def check_unattend(root: Any) -> list[str]:
    """Passes, components and settings that Windows does not know there or that are out of order, and list items without their action."""
    errors = [] if root.tag == f"{UNATTEND}unattend" else ["the root is no unattend"]
    errors += _order("unattend", [found.get("pass") for found in root], list(UNATTEND_SETTINGS))
    for phase in root:
        known = UNATTEND_SETTINGS.get(phase.get("pass"), {})
        errors += _order(phase.get("pass"), [found.get("name") for found in phase], list(known))
        for component in phase:
            wanted = {"processorArchitecture", "publicKeyToken", "language", "versionScope", "name"}
            errors += [] if set(component.attrib) == wanted else [f"{component.get('name')} lacks an attribute"]
            errors += _order(component.get("name"), _names(component), known.get(component.get("name"), []))
            for element in component.iterdescendants():
                name = element.tag.removeprefix(UNATTEND)
                if len(element):
                    errors += _order(name, list(dict.fromkeys(_names(element))), UNATTEND_CHILDREN.get(name, []), component.get("name"))
                errors += [f"{name} has no action"] if name in ADDED and element.get(f"{WCM}action") != "add" else []
                errors += [f"{name} is empty"] if not len(element) and not (element.text or "").strip() else []
    return errors + [f"orders of {name} are {orders}" for name, orders in _orders(root) if orders != list(range(1, len(orders) + 1))]


def _names(element: Any) -> list[str]:
    return [child.tag.removeprefix(UNATTEND) for child in element]


def _order(where: str, found: list[str], known: list[str], component: str = "") -> list[str]:
    if component == "Microsoft-Windows-TCPIP" and where == "Interface":
        known = [name for name in known if name != "DNSServerSearchOrder"]
    unknown = [f"{where} knows no {name}" for name in found if name not in known]
    return unknown or ([] if found == [name for name in known if name in found] else [f"{where} has {found} out of order"])


def _orders(root: Any) -> Iterator[tuple[str, list[int]]]:
    for name in ("CreatePartitions", "ModifyPartitions", "FirstLogonCommands"):
        for element in root.iter(f"{UNATTEND}{name}"):
            yield name, [int(child.findtext(f"{UNATTEND}Order")) for child in element]


def read_esxi(text: bytes) -> tuple[list[list[str]], list[str]]:
    """The commands before the first section, split as ESXi's parser splits them (as a shell), and the scripts of the sections."""
    head, *sections = re.split(r"^(?=%)", text.decode("ascii"), flags=re.MULTILINE)
    return [shlex.split(line, comments=True) for line in head.splitlines() if line], sections


def check_esxi(text: bytes) -> list[str]:
    """Commands and options that ESXi's kickstart does not know, and what it asks for and does not find."""
    commands, sections = read_esxi(text)
    errors: list[str] = []
    for command, *words in commands:
        known = ESXI.get(command)
        errors += [f"no command {command}"] if known is None else []
        for word in words:
            option = word.partition("=")[0] if word.startswith("--") else ""
            errors += [f"{command} knows no {option or word}"] if option not in (known or set()) else []
    names = [command[0] for command in commands]
    errors += [
        f"{name} is there {names.count(name)} times" for name in ("vmaccepteula", "install", "rootpw", "network") if names.count(name) != 1
    ]
    for section in sections:
        name, *options = section.splitlines()[0].split()
        errors += [f"no section {name}"] if name not in ESXI_SECTIONS else []
        errors += [f"{name} knows no {word}" for word in options if word.partition("=")[0] not in ESXI_SECTIONS.get(name, set())]
    return errors


def read_boot_cfg(text: bytes) -> dict[str, str]:
    """The keys and values of a boot.cfg: one `key=value` on each line (esx-boot, mboot/config.c)."""
    pairs = [line.split("=", 1) for line in text.decode("ascii").splitlines()]
    keys = [key for key, _value in pairs]
    assert keys == ["bootstate", "title", "timeout", "prefix", "kernel", "kernelopt", "modules", "build", "updated"]
    return dict(pairs)


def read_batch(text: bytes) -> list[list[str]]:
    """The words of each line of a batch file: blanks part them but for inside double quotes, where `%%` is one `%` and nothing else means anything."""
    made = []
    assert text.endswith(b"\r\n") and b"\n" not in text.replace(b"\r\n", b"")
    for line in text.decode("ascii").split("\r\n")[:-1]:
        assert line.count('"') % 2 == 0, line
        words = re.findall(r'"[^"]*"|[^\s"]+', line)
        made.append([word.strip('"').replace("%%", "%") if word.startswith('"') else word for word in words])
    return made


def read_powershell(text: bytes) -> tuple[str, list[str]]:
    """A script with the insides of its single-quoted strings taken out, and these, as PowerShell reads them; its brackets must match."""
    source, strings = text.decode(), []
    quote = "'\u2018\u2019\u201a\u201b"

    def take(found: re.Match[str]) -> str:
        strings.append(re.sub(f"[{quote}]([{quote}])", r"\1", found[0][1:-1]))
        return "''"

    rest = re.sub(f"[{quote}](?:[^{quote}]|[{quote}][{quote}])*[{quote}]", take, source)
    for opening, closing in ("()", "{}", "[]"):
        assert rest.count(opening) == rest.count(closing), f"{opening} and {closing} do not match"
    return rest, strings
