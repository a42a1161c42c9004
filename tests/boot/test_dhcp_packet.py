"""DHCP packets: hostile bytes, long options, overloaded fields."""

from ipaddress import IPv4Address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reconciler.boot.dhcp import Offered, answer
from reconciler.boot.dhcp_packet import LARGEST, SMALLEST, DhcpError, Option, Packet, encapsulated, pack, parse
from tests.boot import packets
from tests.boot.packets import header, hexed

OFFERED = Offered(server=IPv4Address("10.77.0.1"), url="http://10.77.0.1:8069", loaders=frozenset({"undionly.kpxe", "snponly.efi"}))
WHOLE = [packets.SEABIOS_IPXE, packets.BIOS_PXE, packets.EDK2_PXE, packets.EDK2_PXE_AT_4011, packets.EDK2_HTTP, packets.BOOT_ITEM_AT_4011]
addresses = st.ip_addresses(v=4)


def heard(data: bytes, port: int) -> int:
    """Bytes of the answer to whatever comes; 0 for silence."""
    try:
        request = parse(data)
        reply = answer(request, OFFERED, port=port)
        return len(pack(reply)) if reply else 0
    except DhcpError:
        return 0


@given(st.binary(max_size=1600), st.sampled_from([67, 4011]))
def test_random_bytes_are_never_answered(data: bytes, port: int) -> None:
    assert heard(data, port) == 0


@given(
    st.sampled_from(WHOLE),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=12),
    st.integers(0, 500),
    st.sampled_from([67, 4011]),
)
def test_damaged_packets_give_no_other_error_and_no_large_answer(whole: bytes, bits: list[tuple[int, int]], length: int, port: int) -> None:
    data = bytearray(whole)
    for at, value in bits:
        data[at % len(data)] = value
    assert heard(bytes(data), port) <= LARGEST
    assert heard(bytes(data[:length]), port) <= LARGEST


@given(st.binary(max_size=1200), st.binary(max_size=128), st.binary(max_size=64), st.integers(0, 4), st.sampled_from([67, 4011]))
@example(b"\x52\xff" + bytes(255) + b"\x52\xff" + bytes(255) + b"\x52\xff" + bytes(255) + b"\x52\xff" + bytes(255), b"", b"", 0, 67)
def test_hostile_options_behind_a_true_head(tail: bytes, file: bytes, name: bytes, overload: int, port: int) -> None:
    head = hexed(f"35 01 01 5d 02 0007 3c 09 505845436c69656e74 34 01 {overload:02x}")
    assert heard(header(file=file, name=name) + head + tail, port) <= LARGEST


@given(st.binary(max_size=300))
def test_option_43_raises_nothing_else(value: bytes) -> None:
    try:
        encapsulated(value)
    except DhcpError as error:
        assert "goes over the end" in str(error)


@given(
    st.builds(
        Packet,
        op=st.sampled_from([1, 2]),
        xid=st.integers(0, 2**32 - 1),
        hardware=st.binary(max_size=16),
        hops=st.integers(0, 255),
        seconds=st.integers(0, 65535),
        flags=st.integers(0, 65535),
        ciaddr=addresses,
        yiaddr=addresses,
        siaddr=addresses,
        giaddr=addresses,
        server_name=st.binary(max_size=63).map(lambda text: text.replace(b"\0", b"x")),
        file=st.binary(max_size=127).map(lambda text: text.replace(b"\0", b"x")),
        options=st.dictionaries(st.integers(1, 254).filter(lambda code: code != Option.OVERLOAD), st.binary(max_size=300), max_size=3),
    )
)
def test_what_is_packed_is_read_the_same(packet: Packet) -> None:
    data = pack(packet)
    assert SMALLEST <= len(data) <= LARGEST
    assert parse(data) == packet


def test_overloaded_fields_hold_options_and_no_names() -> None:
    found = parse(header(file=hexed("5d 02 0007 ff"), name=hexed("3c 09 505845436c69656e74 ff")) + hexed("35 01 01 34 01 03 ff"))
    assert (found.architecture, found.vendor_class, found.file, found.server_name) == (7, b"PXEClient", b"", b"")


def test_parts_of_an_option_are_joined_in_the_order_of_the_fields() -> None:
    found = parse(header(file=hexed("3c 03 6c6965 ff"), name=hexed("3c 02 6e74 ff")) + hexed("3c 02 5058 34 01 03 3c 02 4543 ff"))
    assert found.vendor_class == b"PXEClient"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        header()[:-1],
        header()[:-4] + bytes(64),  # BOOTP
        header(op="03") + b"\xff",
        header() + hexed("35 05 01"),
        header() + hexed("35"),
        header() + hexed("34 01 04 ff"),
        header() + hexed("34 02 0101 ff"),
        header() + bytes(LARGEST),
        header()[:2] + b"\x11" + header()[3:] + b"\xff",
    ],
)
def test_no_packet(data: bytes) -> None:
    with pytest.raises(DhcpError):
        parse(data)


@pytest.mark.parametrize(
    "long", [{"file": b"x" * 128}, {"server_name": b"x" * 64}, {"hardware": bytes(17)}, {"options": {67: bytes(1400)}}]
)
def test_what_does_not_fit_is_not_packed(long: dict[str, bytes]) -> None:
    with pytest.raises(DhcpError):
        pack(Packet(**({"op": 2, "xid": 1, "hardware": bytes(6)} | long)))  # type: ignore[arg-type]


def test_how_large_an_answer_may_be() -> None:
    assert parse(header() + b"\xff").largest == 548
    assert parse(header() + hexed("39 02 ffff ff")).largest == LARGEST
    assert parse(header() + hexed("39 02 0001 ff")).largest == 548
