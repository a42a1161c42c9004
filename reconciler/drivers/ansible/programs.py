"""The programs of Ansible that are installed here, and the environment that all of them get: nothing of ours but what is named."""

import os
import shutil
import sys
from pathlib import Path

from reconciler.drivers.ansible.stream import not_installed


def found(name: str) -> str | None:
    """The path of a program of Ansible: beside this Python, else on PATH."""
    beside = Path(sys.executable).parent / name
    return str(beside) if os.access(beside, os.X_OK) else shutil.which(name)


def needed(name: str) -> str:
    """Likewise. Raises Permanent with the way to install it."""
    program = found(name)
    if program is None:
        raise not_installed(f"the program {name} is not installed")
    return program


def environment_of(program: str, home: Path) -> dict[str, str]:
    """What every program gets: it writes no bytecode, for what is installed is compared with its checksums at the next use."""
    return {
        "PATH": f"{Path(program).parent}:{os.environ.get('PATH', os.defpath)}",
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "ANSIBLE_HOME": str(home / "ansible"),
        "ANSIBLE_LOCAL_TEMP": str(home / "tmp"),
        "ANSIBLE_NOCOLOR": "1",
        "NO_COLOR": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
