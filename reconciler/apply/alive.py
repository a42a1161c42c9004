"""Which workers of this machine are gone: each holds a lock on a file in the data directory, and the kernel drops it with the process.

That is quicker than waiting for a lease to end, and holds when a clock is set. Of workers elsewhere nothing is known here.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reconciler.files import private_directory


@contextmanager
def alive(directory: Path, worker: str) -> Iterator[None]:
    """While it is open, this process is known to live as that worker."""
    path = private_directory(directory) / f"{worker}.lock"
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def gone(directory: Path, worker: str) -> bool:
    """Whether that worker ran here and is dead. Of one that ran elsewhere: False."""
    path = directory / f"{worker}.lock"
    try:
        handle = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(handle)
    return True


def forget(directory: Path, worker: str) -> None:
    """Remove what a dead worker left."""
    (directory / f"{worker}.lock").unlink(missing_ok=True)
