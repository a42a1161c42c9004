"""GRUB configurations of a boot server for machines that install nothing now."""


def local_boot(firmware: str) -> bytes:
    """Go on to the firmware's next boot device."""
    del firmware
    return b"set timeout=0\nexit\n"
