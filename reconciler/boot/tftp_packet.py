"""Packets of TFTP (RFC 1350) with its options (RFC 2347): block size (2348), timeout and transfer size (2349), window size (7440). Pure.

In: bytes of a datagram. Out: what they ask, or the bytes to answer.
"""

import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass

READ, WRITE, DATA, ACK, ERROR, OACK = range(1, 7)
UNDEFINED, NOT_FOUND, ACCESS, FULL, ILLEGAL, UNKNOWN_ID, EXISTS, NO_USER, BAD_OPTION = range(9)
"""Codes of ERROR packets."""

HEAD = struct.Struct("!HH")
"""The first four bytes of every packet but a request: what it is, and its block number or error code."""

REQUEST_BYTES = 512
"""The most that a request has (RFC 2347)."""
NAME_BYTES = 255
BLOCK = 512
"""The block size that nobody negotiated."""
DATA_BYTES = {4: 1468, 6: 1448}
"""The largest block by IP version: Ethernet's 1,500 bytes less the headers of IP (20 or 40), UDP (8) and TFTP (4). A larger one travels in
fragments: many boot ROMs cannot join them, and one that is lost costs the whole block."""
WINDOW = 16
"""The most blocks that are sent before one is acknowledged."""

_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\\]|%[0-9a-f]{2}|(^|/)\.\.(/|$)", re.IGNORECASE)
_VALID = {"blksize": (8, 65464), "timeout": (1, 255), "tsize": (0, 2**63), "windowsize": (1, 65535)}


class Unserved(Exception):
    """A request that is answered with an ERROR packet of this code and text."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code, self.text = code, text


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadRequest:
    """RRQ: a file asked for as it is (`octet`). `name` has lost one leading slash; `options` are those known and valid, by name."""

    name: str
    options: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What both sides keep to: bytes of a block, blocks of a window, seconds until something is sent again (None: the server decides).
    `accepted` are the options that an OACK confirms; without any the first DATA packet answers the request."""

    block: int
    window: int
    timeout_s: int | None
    accepted: Mapping[str, int]

    @property
    def bytes_in_flight(self) -> int:
        """The most that is sent and not acknowledged at a time."""
        return self.block * self.window


def read_request(packet: bytes) -> ReadRequest | None:
    """What a datagram at the server's port asks for; None if it is no request, which nobody answers, so that two servers never talk to each other.

    Raises `Unserved` for a write, a mode other than octet, a name that no file can have, and what does not follow the format.
    """
    if len(packet) < 2 or packet[0] or packet[1] not in (READ, WRITE):
        return None
    if packet[1] == WRITE:
        raise Unserved(ACCESS, "nothing can be written here")
    if len(packet) > REQUEST_BYTES or packet[-1]:
        raise Unserved(ILLEGAL, "malformed request")
    fields = packet[2:-1].split(b"\0")
    if len(fields) < 2:
        raise Unserved(ILLEGAL, "malformed request")
    if fields[1].lower() != b"octet":
        raise Unserved(UNDEFINED, "only the mode octet (binary) is served")
    return ReadRequest(name=_name(fields[0]), options=_options(fields[2:]))


def _name(field: bytes) -> str:
    try:
        name = field.decode()
    except UnicodeDecodeError:
        raise Unserved(ACCESS, "the name is not UTF-8") from None
    if len(field) > NAME_BYTES or _FORBIDDEN.search(name):
        raise Unserved(ACCESS, "no file can have this name")
    return name.removeprefix("/")


def _options(fields: list[bytes]) -> dict[str, int]:
    found: dict[str, int] = {}
    for field, value in zip(fields[::2], fields[1::2], strict=False):
        name = field.decode("latin-1").lower()
        lowest, highest = _VALID.get(name, (0, -1))
        if name not in found and value.isdigit() and len(value) < 20 and lowest <= int(value) <= highest:
            found[name] = int(value)
    return found


def terms(options: Mapping[str, int], size: int, version: int) -> Terms:
    """What a transfer of `size` bytes over IP of this version keeps to. Block and window size are negotiated down; unknown and invalid options are left out."""
    accepted = dict(options)
    if "blksize" in accepted:
        accepted["blksize"] = min(accepted["blksize"], DATA_BYTES[version])
    if "windowsize" in accepted:
        accepted["windowsize"] = min(accepted["windowsize"], WINDOW)
    if "tsize" in accepted:
        accepted["tsize"] = size
    block, window = accepted.get("blksize", BLOCK), accepted.get("windowsize", 1)
    return Terms(block=block, window=window, timeout_s=accepted.get("timeout"), accepted=accepted)


def oack(accepted: Mapping[str, int]) -> bytes:
    """The packet that confirms options."""
    return HEAD.pack(0, OACK)[2:] + b"".join(f"{name}\0{value}\0".encode() for name, value in accepted.items())


def error(code: int, text: str) -> bytes:
    """The packet that ends a transfer, or refuses one."""
    return HEAD.pack(ERROR, code) + text.encode() + b"\0"
