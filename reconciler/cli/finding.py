"""What `octofleet doctor` finds."""

from collections.abc import Callable
from dataclasses import dataclass

from reconciler.errors import OctofleetError

OK, WARNING, FAILED = "ok", "warning", "failed"


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
