"""What is answered to whom: packets of real firmwares, and of nobody."""

from ipaddress import IPv4Address

import pytest

from reconciler.boot.dhcp import EVERYBODY, SCRIPT, Offered, answer, destination
from reconciler.boot.dhcp_packet import Message, Option, Packet, pack, parse
from tests.boot import packets
from tests.boot.packets import MAC, header, hexed

SERVER = IPv4Address("10.77.0.1")
URL = "http://10.77.0.1:8069"
LOADERS = frozenset({"undionly.kpxe", "snponly.efi", "ipxe-arm64.efi", "debian/shimx64.efi", "rocky/shimx64.efi"})
OFFERED = Offered(server=SERVER, url=URL, loaders=LOADERS)
UUID = hexed(packets.UUID)


def said(request: bytes, offered: Offered = OFFERED, port: int = 67) -> Packet | None:
    """The answer as it is on the wire, read again."""
    reply = answer(parse(request), offered, port=port)
    return parse(pack(reply)) if reply else None


def asking(architecture: int, kind: str = "PXEClient", message: str = "01", more: str = "ff") -> bytes:
    name = f"{kind}:Arch:{architecture:05}:UNDI:003016".encode()
    return header() + hexed(f"35 01 {message} 5d 02 {architecture:04x} 3c {len(name):02x} {name.hex()} {more}")


def test_bios_pxe_is_told_to_take_the_file_byte_by_byte() -> None:
    reply = answer(parse(packets.BIOS_PXE), OFFERED)
    assert reply is not None
    assert pack(reply) == (
        hexed("02 01 06 00 3903f326 0000 8000 00000000 00000000 0a4d0001 00000000 525400aa0001 00000000000000000000")
        + b"10.77.0.1".ljust(64, b"\0")
        + b"undionly.kpxe".ljust(128, b"\0")
        + hexed(f"63825363 350102 36040a4d0001 3c09{b'PXEClient'.hex()} 2b04060108ff 6111{UUID.hex()} ff").ljust(64, b"\0")
    )


def test_ipxe_gets_the_address_of_its_script_from_the_offer() -> None:
    reply = said(packets.SEABIOS_IPXE)
    assert reply is not None
    assert (reply.message, reply.siaddr, reply.yiaddr, reply.file) == (Message.OFFER, SERVER, IPv4Address(0), b"")
    assert reply.options[Option.BOOT_FILE].decode() == URL + SCRIPT
    assert reply.vendor_class == b"PXEClient"
    assert Option.VENDOR not in reply.options


@pytest.mark.parametrize("mark", ["4d 04 69505845", "4d 05 04 69505845", "af 03 b1 01 01"])
def test_ipxe_is_known_by_its_class_and_by_its_option(mark: str) -> None:
    reply = said(asking(7, more=f"{mark} ff"))
    assert reply is not None
    assert reply.options[Option.BOOT_FILE].decode().startswith(f"{URL}/boot/ipxe?mac=")


def test_uefi_pxe_gets_no_option_43_and_asks_again_at_4011() -> None:
    offer = said(packets.EDK2_PXE)
    assert offer is not None
    assert (offer.message, offer.file, offer.siaddr, offer.server) == (Message.OFFER, b"snponly.efi", SERVER, SERVER)
    assert Option.VENDOR not in offer.options
    ack = said(packets.EDK2_PXE_AT_4011, port=4011)
    assert ack is not None
    assert (ack.message, ack.file, ack.siaddr, ack.ciaddr) == (Message.ACK, b"snponly.efi", SERVER, IPv4Address("10.77.0.102"))


def test_uefi_http_boot_gets_an_address_as_http_client() -> None:
    reply = said(packets.EDK2_HTTP)
    assert reply is not None
    assert (reply.vendor_class, reply.file) == (b"HTTPClient", f"{URL}/boot/loader/snponly.efi".encode())


def test_a_boot_item_comes_back() -> None:
    reply = said(packets.BOOT_ITEM_AT_4011, port=4011)
    assert reply is not None
    assert (reply.message, reply.file) == (Message.ACK, b"undionly.kpxe")
    assert reply.options[Option.VENDOR] == hexed("06 01 08 47 04 00000000 ff")


@pytest.mark.parametrize(
    ("architecture", "kind", "file"),
    [
        (0, "PXEClient", "undionly.kpxe"),
        (7, "PXEClient", "snponly.efi"),
        (9, "PXEClient", "snponly.efi"),
        (11, "PXEClient", "ipxe-arm64.efi"),
        (16, "HTTPClient", f"{URL}/boot/loader/snponly.efi"),
        (19, "HTTPClient", f"{URL}/boot/loader/ipxe-arm64.efi"),
        (6, "PXEClient", None),
        (65535, "PXEClient", None),
    ],
)
def test_each_architecture(architecture: int, kind: str, file: str | None) -> None:
    reply = said(asking(architecture, kind))
    assert (reply.file.decode() if reply else None) == file


def test_secure_boot_takes_the_shim_of_the_hosts_distribution() -> None:
    by_host = Offered(server=SERVER, url=URL, loaders=LOADERS, secure_boot={MAC: "rocky"})
    reply = said(asking(7), by_host)
    assert reply is not None
    assert reply.file == b"rocky/shimx64.efi"
    assert said(asking(7), Offered(server=SERVER, url=URL, loaders=LOADERS, secure_boot={MAC: "suse"})) is None  # no such pair here


@pytest.mark.parametrize(
    "request_",
    [
        packets.LINUX,
        asking(7, message="03"),  # for an address, from the site's server
        asking(7, message="03", more="36 04 0a4d0002 ff"),  # to that server by name
        asking(7, message="08"),
        asking(7, kind="PXECl1ent"),
        header(op="02") + asking(7)[240:],  # a server's
        header() + hexed("35 01 01 3c 09 505845436c69656e74 ff"),  # of no architecture
    ],
)
def test_silence(request_: bytes) -> None:
    assert said(request_) is None


def test_a_request_at_67_that_names_us_is_answered() -> None:
    reply = said(asking(7, message="03", more="36 04 0a4d0001 ff"))
    assert reply is not None
    assert reply.message == Message.ACK


def test_the_architecture_is_also_read_from_the_vendor_class() -> None:
    reply = said(header() + hexed("35 01 01 3c 14") + b"PXEClient:Arch:00000" + hexed("ff"))
    assert reply is not None
    assert reply.file == b"undionly.kpxe"


def test_a_relays_option_comes_back_last_and_the_answer_goes_to_the_relay() -> None:
    relayed = header(giaddr="0a4d0105") + asking(7, more="52 06 0104 65746830 3d 07 01 525400aa0001 ff")[240:]
    reply = answer(parse(relayed), OFFERED)
    assert reply is not None
    assert list(reply.options)[-1] == Option.RELAY
    assert reply.options[Option.RELAY] == hexed("0104 65746830")
    assert reply.giaddr == IPv4Address("10.77.1.5")
    assert destination(parse(relayed), ("10.77.1.9", 67), 67) == (IPv4Address("10.77.1.5"), 67)


def test_where_answers_go() -> None:
    assert destination(parse(packets.BIOS_PXE), ("0.0.0.0", 68), 67) == (EVERYBODY, 68)
    assert destination(parse(packets.EDK2_PXE_AT_4011), ("10.77.0.102", 4011), 4011) == (IPv4Address("10.77.0.102"), 4011)
    assert destination(parse(packets.EDK2_PXE_AT_4011), ("10.77.0.102", 68), 67) == (IPv4Address("10.77.0.102"), 68)
