"""iPXE scripts of a boot server for machines that install nothing now."""

LOCAL_BIOS = b"#!ipxe\necho Octofleet: booting from the first disk\nsanboot --no-describe --drive 0x80 || exit 1\n"
LOCAL_EFI = b"#!ipxe\necho Octofleet: booting from the next boot device\nexit 1\n"


def local_boot(firmware: str) -> bytes:
    """Boot from the disk; `firmware` as iPXE's `${platform}` says it."""
    return LOCAL_EFI if firmware == "efi" else LOCAL_BIOS
