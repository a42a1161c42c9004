"""Who runs this process, as the system knows them."""

import os
import pwd

from reconciler.identity.access import Identity


def whoami() -> str:
    """`local:NAME` of the user who runs this process; who came by sudo is told as the one who did (SUDO_USER, set by root alone)."""
    uid = os.getuid()
    if uid == 0 and (name := os.environ.get("SUDO_USER", "")) and name.isprintable():
        return f"local:{name}"
    try:
        return f"local:{pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"local:{uid}"


def me() -> Identity:
    """The same as an identity with the installation's files in hand."""
    return Identity(name=whoami(), here=True)
