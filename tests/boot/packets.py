"""What real firmwares send, byte by byte, written from RFC 2131, 2132 and 4578, the PXE 2.1 specification, UEFI 2.10 and https://ipxe.org/howto/dhcpd."""

MAC = "52:54:00:aa:00:01"
UUID = "00 564d1111 2222 3333 4444 555566667777"


def hexed(text: str) -> bytes:
    """Bytes of lines of hexadecimal digits; what follows `;` is a remark."""
    return bytes.fromhex(" ".join(line.partition(";")[0] for line in text.splitlines()))


def header(
    *, flags: str = "0000", ciaddr: str = "00000000", giaddr: str = "00000000", op: str = "01", file: bytes = b"", name: bytes = b""
) -> bytes:
    """The fixed part: Ethernet, transaction 3903f326, the address of `MAC`, the magic cookie."""
    fixed = f"{op} 01 06 00 3903f326 0000 {flags} {ciaddr} 00000000 00000000 {giaddr} 525400aa0001 00000000000000000000"
    return hexed(fixed) + name.ljust(64, b"\0") + file.ljust(128, b"\0") + hexed("63825363")


SEABIOS_IPXE = header() + hexed(f"""
    35 01 01                     ; DHCPDISCOVER
    39 02 05c0                   ; at most 1472 bytes
    5d 02 0000                   ; x86 BIOS
    5e 03 010201                 ; UNDI 2.1
    3c 20 505845436c69656e743a417263683a30303030303a554e44493a303032303031 ; PXEClient:Arch:00000:UNDI:002001
    4d 04 69505845               ; user class iPXE, without RFC 3004's length
    37 17 01 03 06 07 0c 0f 11 1a 2b 3c 42 43 77 80 81 82 83 84 85 86 87 af cb
    af 27 b1 05 01 8086 100e eb 03 010000 17 01 01 22 01 01 13 01 01 11 01 01 27 01 01 19 01 01 10 01 02 21 01 01 15 01 01
    3d 07 01 525400aa0001        ; client identifier
    61 11 {UUID}
    ff
""")
"""SeaBIOS with the card's iPXE ROM, which is what QEMU's own cards do."""

BIOS_PXE = header(flags="8000") + hexed(f"""
    35 01 01
    37 18 01 02 03 05 06 0b 0c 0d 0f 10 11 12 2b 36 3c 43 80 81 82 83 84 85 86 87
    39 02 04ec                   ; at most 1260 bytes
    61 11 {UUID}
    5d 02 0000
    5e 03 010201
    3c 20 505845436c69656e743a417263683a30303030303a554e44493a303032303031
    ff
""")
"""A card's PXE 2.1 ROM of the makers, with the broadcast flag."""

EDK2_PXE = header(flags="8000") + hexed(f"""
    35 01 01
    39 02 05c0
    37 23 01 02 03 04 05 06 0c 0d 0f 11 12 16 17 1c 28 29 2a 2b 32 33 36 3a 3b 3c 42 43 61 80 81 82 83 84 85 86 87
    61 11 {UUID}
    5e 03 010310                 ; UNDI 3.16
    5d 02 0007                   ; UEFI x86-64
    3c 20 505845436c69656e743a417263683a30303030373a554e44493a303033303136 ; PXEClient:Arch:00007:UNDI:003016
    ff
""")

EDK2_PXE_AT_4011 = header(ciaddr="0a4d0066") + hexed(f"""
    35 01 03                     ; DHCPREQUEST
    39 02 05c0
    37 23 01 02 03 04 05 06 0c 0d 0f 11 12 16 17 1c 28 29 2a 2b 32 33 36 3a 3b 3c 42 43 61 80 81 82 83 84 85 86 87
    61 11 {UUID}
    5e 03 010310
    5d 02 0007
    3c 20 505845436c69656e743a417263683a30303030373a554e44493a303033303136
    ff
""")
"""The same machine, which has the address 10.77.0.102 by now."""

EDK2_HTTP = header(flags="8000") + hexed(f"""
    35 01 01
    39 02 05c0
    37 1b 01 02 03 04 05 06 0c 0d 0f 11 12 16 17 1c 28 29 2a 2b 32 33 36 3a 3b 3c 42 43 61
    61 11 {UUID}
    5e 03 010310
    5d 02 0010                   ; UEFI x86-64, HTTP
    3c 21 48545450436c69656e743a417263683a30303031363a554e44493a303033303136 ; HTTPClient:Arch:00016:UNDI:003016
    ff
""")

BOOT_ITEM_AT_4011 = header(ciaddr="0a4d0066") + hexed(f"""
    35 01 03
    61 11 {UUID}
    5d 02 0000
    5e 03 010201
    3c 20 505845436c69656e743a417263683a30303030303a554e44493a303032303031
    2b 07 47 04 00000000 ff      ; PXE_BOOT_ITEM: type 0, layer 0
    ff
""")
"""A BIOS machine that asks a boot server for its file."""

LINUX = header() + hexed("35 01 01  3d 07 01 525400aa0001  3c 0c 64686370636420392e342e31  37 03 010306 ff")
"""An operating system's DHCP client: none of our business."""
