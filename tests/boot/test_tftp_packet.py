"""Packets of TFTP: what is read, refused, left out, negotiated down; and that no bytes at all make anything fail."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.boot import tftp_packet as packets
from reconciler.boot.tftp_image import BLOCKS, Images, cut
from reconciler.boot.tftp_limits import Room, TftpLimits
from reconciler.boot.tftp_packet import ReadRequest, Unserved, error, oack, read_request, terms
from tests.boot.tftp_peers import rrq

TRAVERSALS = (
    "../etc/passwd",
    "a/../../etc/passwd",
    "a/..",
    "/..",
    "..",
    "a\\..\\b",
    "\\boot\\bcd",
    "%2e%2e/etc/passwd",
    "%2E%2e%2fetc/passwd",
    "a%00b",
    "a\nb",
    "a\rb",
    "a\x7fb",
    "a\x1bb",
    "a\x85b",
    "x" * 256,
    "é" * 128,
    b"\xff\xfe",
    b"\xc0\xae\xc0\xae/etc/passwd",
)


@pytest.mark.parametrize("name", TRAVERSALS)
def test_names_that_no_file_can_have_are_refused(name: str | bytes) -> None:
    with pytest.raises(Unserved) as refused:
        read_request(rrq(name))
    assert refused.value.code == packets.ACCESS


@pytest.mark.parametrize(
    ("asked", "name"),
    [("/a/b.efi", "a/b.efi"), ("//a", "/a"), ("a..b/c...d", "a..b/c...d"), ("é" * 127, "é" * 127), ("100%", "100%"), ("", "")],
)
def test_one_leading_slash_is_dropped(asked: str, name: str) -> None:
    assert read_request(rrq(asked)) == ReadRequest(name=name, options={})


@pytest.mark.parametrize(
    ("packet", "code"),
    [
        (b"\0\2a\0octet\0", packets.ACCESS),
        (b"\0\2", packets.ACCESS),
        (b"\0\1a\0octet", packets.ILLEGAL),
        (b"\0\1a\0", packets.ILLEGAL),
        (b"\0\1", packets.ILLEGAL),
        (rrq("a", {"x": "y" * 500}), packets.ILLEGAL),
        (rrq("a", mode="netascii"), packets.UNDEFINED),
        (rrq("a", mode="mail"), packets.UNDEFINED),
    ],
)
def test_writes_other_modes_and_malformed_requests_are_refused(packet: bytes, code: int) -> None:
    with pytest.raises(Unserved) as refused:
        read_request(packet)
    assert refused.value.code == code


@pytest.mark.parametrize("packet", [b"", b"\0", b"\1\1a\0octet\0", b"\0\3\0\1data", b"\0\4\0\1", error(0, "x"), b"\0\6", b"\0\7"])
def test_what_is_no_request_is_nobodys(packet: bytes) -> None:
    assert read_request(packet) is None


def options(**asked: object) -> dict[str, int]:
    found = read_request(rrq("a", asked, mode="OCTET"))
    assert found is not None
    return dict(found.options)


@pytest.mark.parametrize(
    ("asked", "valid"),
    [
        ({"blksize": 7}, {}),
        ({"blksize": 8}, {"blksize": 8}),
        ({"BLKSIZE": 65464}, {"blksize": 65464}),
        ({"blksize": 65465}, {}),
        ({"blksize": -1}, {}),
        ({"blksize": "+9"}, {}),
        ({"blksize": ""}, {}),
        ({"blksize": "1e3"}, {}),
        ({"blksize": "9" * 400}, {}),
        ({"blksize": "٣٢"}, {}),
        ({"windowsize": 0}, {}),
        ({"windowsize": 65535}, {"windowsize": 65535}),
        ({"timeout": 0}, {}),
        ({"timeout": 255}, {"timeout": 255}),
        ({"timeout": 256}, {}),
        ({"tsize": 0}, {"tsize": 0}),
        ({"multicast": ""}, {}),
        ({"tsize": 0, "TSIZE": 5}, {"tsize": 0}),
    ],
)
def test_unknown_and_invalid_options_are_left_out(asked: dict[str, object], valid: dict[str, int]) -> None:
    assert options(**asked) == valid


def test_an_option_without_a_value_is_left_out() -> None:
    assert read_request(rrq("a") + b"blksize\0") == ReadRequest(name="a", options={})


def test_blocks_and_windows_are_negotiated_down_and_the_size_is_told() -> None:
    large = {"blksize": 65464, "windowsize": 64, "timeout": 9, "tsize": 0}
    assert terms(large, 1234, 4).accepted == {"blksize": 1468, "windowsize": 16, "timeout": 9, "tsize": 1234}
    assert terms(large, 1234, 6).block == 1448
    plain = terms({}, 1234, 4)
    assert (plain.block, plain.window, plain.timeout_s, plain.accepted) == (512, 1, None, {})
    assert oack({"blksize": 8, "tsize": 3}) == b"\0\6blksize\x008\0tsize\x003\0"
    assert error(1, "no") == b"\0\5\0\1no\0"


@given(
    st.one_of(st.binary(max_size=600), st.lists(st.binary(max_size=40), max_size=12).map(lambda some: b"\0\1" + b"\0".join(some) + b"\0"))
)
def test_no_packet_makes_anything_fail_or_answer_at_length(packet: bytes) -> None:
    try:
        found = read_request(packet)
    except Unserved as refused:
        assert len(error(refused.code, refused.text)) <= 64
        return
    if found is not None:
        assert ".." not in found.name.split("/")
        assert not set(found.name) & set("\0\\\r\n")
        agreed = terms(found.options, 10, 4)
        assert len(oack(agreed.accepted)) <= 128
        assert 8 <= agreed.block <= 1468
        assert 1 <= agreed.window <= 16


@given(st.binary(max_size=5000), st.integers(8, 1468) | st.sampled_from(sorted(BLOCKS)))
def test_a_file_is_its_packets(content: bytes, block: int) -> None:
    image = Images(1 << 20).take(content, block)
    assert (image is not None) == (block in BLOCKS)
    count = len(content) // block + 1
    whole = cut(content, block, 1, count)
    assert image is None or image == whole
    parts = [whole[at : at + block + 4] for at in range(0, len(whole), block + 4)]
    assert b"".join(part[4:] for part in parts) == content
    assert [struct.unpack_from("!HH", part) for part in parts] == [(3, number) for number in range(1, count + 1)]
    assert len(parts[-1]) < block + 4
    assert [cut(content, block, number + 1, 1) for number in range(count)] == parts


def test_numbers_of_blocks_go_round() -> None:
    content = bytes(8 * 65_537)
    assert [cut(content, 8, number, 1)[2:4] for number in (65_535, 65_536, 65_537)] == [b"\xff\xff", b"\0\0", b"\0\1"]


def test_images_are_bounded_in_bytes_and_those_in_use_stay() -> None:
    images, files = Images(4_100), [bytes([number]) * 1000 for number in range(5)]
    kept = [images.take(content, 512) for content in files[:4]]
    assert None not in kept
    assert images.take(files[0], 512) is kept[0]
    assert images.take(files[4], 512) is None
    images.give_back(files[0], 512)
    assert images.take(files[4], 512) is None
    images.give_back(files[0], 512)
    assert images.take(files[4], 512) is not None
    assert images.take(files[0], 512) is None
    assert images.take(files[1], 512) is kept[1]


def test_a_file_that_is_large_beside_all_images_has_none() -> None:
    assert Images(4_000).take(bytes(1000), 512) is None
    assert Images(4_100).take(bytes(1000), 512) is not None


def test_what_is_left_of_the_limits() -> None:
    room = Room(TftpLimits(transfers_per_source=2, bytes_in_flight=4500, requests_s=5, requests_per_source_s=3), 3)
    assert [room.for_request("a", 0.0) for _ in range(4)] == [True, True, True, False]
    assert [room.for_request("b", 0.5) for _ in range(2)] == [True, False]
    assert room.for_request("a", 1.5)
    window = terms({"blksize": 1000, "windowsize": 3}, 9, 4)
    assert room.take("a", window) == window
    one = room.take("a", window)
    assert one is not None
    assert one.accepted == {"blksize": 1000, "windowsize": 1}
    assert not room.for_transfer("a")
    assert room.take("b", window) is None
    room.give_back("a", one)
    assert room.for_transfer("a")
    assert all(room.take(source, terms({}, 9, 4)) for source in "ab")
    assert not room.for_transfer("c")
