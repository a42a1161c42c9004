"""What systemd hands to a service, and wants to hear from it (sd_listen_fds(3), sd_notify(3)); nothing of it without systemd."""

import os
import socket

from reconciler.errors import OctofleetError

FIRST = 3


def inherited() -> socket.socket | None:
    """The socket of a socket unit, taken over once. Raises `OctofleetError` if it is not one TCP socket that listens."""
    pid, number = os.environ.pop("LISTEN_PID", ""), os.environ.pop("LISTEN_FDS", "")
    os.environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not number.isdigit() or number == "0":
        return None
    if number != "1":
        raise OctofleetError(f"systemd hands over {number} sockets", hint="let the socket unit have one ListenStream=", code="listen")
    os.set_inheritable(FIRST, False)
    found = socket.socket(fileno=FIRST)
    listens = found.type == socket.SOCK_STREAM and found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    if not listens or found.family not in (socket.AF_INET, socket.AF_INET6):
        raise OctofleetError("what systemd hands over is no TCP socket", hint="ListenStream=HOST:PORT in the socket unit", code="listen")
    return found


def notify(text: str) -> None:
    """Tell systemd, such as `READY=1`. What cannot be told is left."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if path[:1] not in ("/", "@"):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as said:
        try:
            said.sendto(text.encode(), path.replace("@", "\0", 1) if path.startswith("@") else path)
        except OSError:
            return
