"""What `octofleet doctor` finds."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from reconciler.errors import OctofleetError

OK, WARNING, FAILED = "ok", "warning", "failed"
PROGRAM_S = 30


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: `status` is `ok`, `warning` (it works, but not as well as it should) or `failed`; `hint` says how to mend it."""

    name: str
    status: str
    found: str
    hint: str = ""


def tried(name: str, look: Callable[[], str | Finding]) -> Finding:
    """What a look gives; an error is a failure."""
    try:
        found = look()
    except OctofleetError as error:
        return Finding(name, FAILED, error.message, error.hint)
    return Finding(name, OK, found) if isinstance(found, str) else found


def program(name: str, hint: str) -> Finding:
    """A program that not every installation needs: without it is a warning, one that does not run a failure."""
    beside = str(Path(sys.executable).parent)
    path = shutil.which(name, path=f"{beside}:{os.environ.get('PATH', '')}")
    if path is None:
        return Finding(name, WARNING, "not found", hint)
    flag = "-V" if name == "ssh" else "--version"
    try:
        answer = subprocess.run([path, flag], capture_output=True, text=True, check=False, timeout=PROGRAM_S)  # noqa: S603 - the program is the one found
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding(name, FAILED, f"{path} does not run: {error}", f"install it anew ({hint})")
    said = ((answer.stdout or answer.stderr).splitlines() or [path])[0].strip()
    return Finding(name, OK if answer.returncode == 0 else FAILED, said, f"install it anew ({hint})")
