"""What Windows needs to be told, and its own names for what everybody else calls otherwise.

In: the table `windows` of the values. Out: `Windows`, checked. Passwords come as text here: they are secrets until a boot server reveals them.
Sources: Microsoft, "Unattended Windows Setup Reference"; Unicode CLDR, `windowsZones.xml`; "Default input profiles (input locales) in Windows".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from renderers import inputs
from renderers.contract import RenderError, Text
from renderers.reader import Node

ZONES = {
    **dict.fromkeys(("Etc/UTC", "UTC", "Etc/GMT"), "UTC"),
    **dict.fromkeys(("Europe/London", "Europe/Dublin", "Europe/Lisbon"), "GMT Standard Time"),
    **dict.fromkeys(
        ("Europe/Amsterdam", "Europe/Berlin", "Europe/Rome", "Europe/Stockholm", "Europe/Vienna", "Europe/Zurich", "Europe/Oslo"),
        "W. Europe Standard Time",
    ),
    **dict.fromkeys(("Europe/Brussels", "Europe/Copenhagen", "Europe/Madrid", "Europe/Paris"), "Romance Standard Time"),
    **dict.fromkeys(("Europe/Budapest", "Europe/Prague", "Europe/Bratislava", "Europe/Ljubljana"), "Central Europe Standard Time"),
    **dict.fromkeys(("Europe/Warsaw", "Europe/Zagreb", "Europe/Sarajevo"), "Central European Standard Time"),
    **dict.fromkeys(
        ("Europe/Helsinki", "Europe/Kiev", "Europe/Kyiv", "Europe/Riga", "Europe/Sofia", "Europe/Tallinn", "Europe/Vilnius"),
        "FLE Standard Time",
    ),
    **dict.fromkeys(("Europe/Athens", "Europe/Bucharest"), "GTB Standard Time"),
    "Europe/Istanbul": "Turkey Standard Time",
    "Africa/Johannesburg": "South Africa Standard Time",
    "America/New_York": "Eastern Standard Time",
    "America/Toronto": "Eastern Standard Time",
    "America/Chicago": "Central Standard Time",
    "America/Denver": "Mountain Standard Time",
    "America/Phoenix": "US Mountain Standard Time",
    "America/Los_Angeles": "Pacific Standard Time",
    "America/Sao_Paulo": "E. South America Standard Time",
    "Asia/Dubai": "Arabian Standard Time",
    "Asia/Kolkata": "India Standard Time",
    "Asia/Shanghai": "China Standard Time",
    "Asia/Singapore": "Singapore Standard Time",
    "Asia/Seoul": "Korea Standard Time",
    "Asia/Tokyo": "Tokyo Standard Time",
    "Australia/Sydney": "AUS Eastern Standard Time",
    "Pacific/Auckland": "New Zealand Standard Time",
}
KEYBOARDS = {
    "us": "0409:00000409",
    "us-intl": "0409:00020409",
    "gb": "0809:00000809",
    "de": "0407:00000407",
    "fr": "040c:0000040c",
    "es": "040a:0000040a",
    "it": "0410:00000410",
    "nl": "0413:00020409",
    "se": "041d:0000041d",
    "no": "0414:00000414",
    "dk": "0406:00000406",
    "fi": "040b:0000040b",
    "pl": "0415:00000415",
    "pt": "0816:00000816",
    "br": "0416:00000416",
    "cz": "0405:00000405",
    "jp": "0411:00000411",
}
_ACCOUNT = r"[^\"/\\\[\]:;|=,+*?<>@]{1,20}"
_ACCOUNT_IS = 'a Windows account name (at most 20 characters, none of "/\\[]:;|=,+*?<>@)'


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A name and its password."""

    name: Text
    password: Text


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalUser:
    """A local account and the local groups that it is in."""

    account: Account
    display: Text | None
    groups: tuple[Text, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """The Active Directory domain to join, by which account, and below which organisational unit."""

    name: Text
    join: Account
    unit: Text | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """The table `windows`. Of `edition` (an image's name) and `image_index` one is set; of `domain` and `workgroup` at most one."""

    disk_id: int
    edition: Text | None
    image_index: int | None
    share: Account | None
    product_key: Text | None
    organization: Text | None
    administrator: Text
    users: tuple[LocalUser, ...]
    domain: Domain | None
    workgroup: Text | None
    drivers: tuple[str, ...]  # UNC paths
    first_logon: tuple[tuple[Text, Text | None], ...]  # command line, description


def windows(values: Mapping[str, Any]) -> Windows:
    """The table `windows`; RenderError for what Setup would stop at and ask about."""
    node = Node(values)["windows"]
    disk = node["diskId"].number(0, 255)
    if disk is None:
        raise RenderError("/windows/diskId", "missing: the number of the disk that Setup may erase, as `diskpart` lists it")
    edition, index = node["edition"].maybe(r".+", "the name of an image"), node["imageIndex"].number(1, 99)
    if (edition is None) == (index is None):
        raise RenderError("/windows", "say either edition (the image's name) or imageIndex, one of the two: a WIM file holds several")
    domain, workgroup = _domain(node["domain"]), node["workgroup"].maybe(r"[A-Za-z0-9_-]{1,15}", "a workgroup (15 letters, digits, _ or -)")
    if domain is not None and workgroup is not None:
        raise RenderError("/windows/workgroup", "a machine is in a domain or in a workgroup: remove one of the two")
    return Windows(
        disk_id=disk,
        edition=edition,
        image_index=index,
        share=_account(node["share"]) if node["share"] else None,
        product_key=node["productKey"].maybe(r"[0-9A-Z]{5}(-[0-9A-Z]{5}){4}", "a product key such as XXXXX-XXXXX-XXXXX-XXXXX-XXXXX"),
        organization=node["organization"].maybe() or None,
        administrator=_password(node["administratorPassword"]),
        users=tuple(
            LocalUser(account=_account(user), display=user["displayName"].maybe() or None, groups=user["groups"].texts(r"[^;]+", "a group"))
            for user in node["users"].items()
        ),
        domain=domain,
        workgroup=workgroup,
        drivers=tuple(unc(item.url("smb") or Text("")) for item in node["drivers"].items()),
        first_logon=tuple(
            (item["command"].text(r".{1,1024}", "a command line of at most 1024 characters"), item["description"].maybe())
            for item in node["firstLogon"].items()
        ),
    )


def _password(node: Node) -> Text:
    return node.text(r".{1,127}", "a password of at most 127 characters", why="Setup would stop and ask for this password")


def _account(node: Node) -> Account:
    return Account(
        name=node["name"].text(_ACCOUNT, _ACCOUNT_IS, why="say which account"),
        password=_password(node["password"]),
    )


def _domain(node: Node) -> Domain | None:
    if not node:
        return None
    return Domain(
        name=node["name"].text(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?", "a DNS domain", why="say which domain"),
        join=_account(node["account"]),
        unit=node["ou"].maybe(r"[A-Za-z]+=.+", "the distinguished name of an organisational unit, such as OU=Servers,DC=example,DC=com"),
    )


def unc(url: Text) -> str:
    """`smb://server/share/path` as Windows writes it; RenderError for a path that Windows cannot."""
    parts = urlsplit(url)
    path = [unquote(part) for part in parts.path.split("/") if part]
    if (
        parts.port
        or not path
        or any(char in part for part in path for char in '\\/:*?"<>|')
        or any(not part.isprintable() for part in path)
    ):
        raise RenderError(url.pointer, "must be smb://server/share/path without a port, and of characters that a Windows path can have")
    return "\\\\" + "\\".join([str(parts.hostname), *path])


def language(values: Mapping[str, Any]) -> str:
    """The locale as Windows names it, such as en-US."""
    locale = inputs.region(values).locale
    word = locale.split(".")[0].split("@")[0]
    if word in {"C", "POSIX"}:
        return "en-US"
    language, _, country = word.partition("_")
    if not (language.isalpha() and country.isalpha()):
        raise RenderError("/locale", "Windows needs a language and a country, such as en_US.UTF-8")
    return f"{language.lower()}-{country.upper()}"


def keyboard(values: Mapping[str, Any]) -> str:
    """The keyboard as an input locale."""
    region = inputs.region(values)
    found = KEYBOARDS.get(f"{region.layout}-{region.variant}" if region.variant else region.layout)
    if found is None:
        raise RenderError("/keyboard", f"no keyboard of Windows is known for it: set one of {', '.join(KEYBOARDS)} (layout-variant)")
    return found


def zone(values: Mapping[str, Any]) -> str:
    """The time zone as Windows names it."""
    name = inputs.region(values).timezone
    found = ZONES.get(name)
    if found is None:
        raise RenderError("/timezone", f"no time zone of Windows is known for {name}: set one of {', '.join(ZONES)}")
    return found
