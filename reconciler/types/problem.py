"""What is wrong with user input, and where. All problems of an input are collected, sorted and shown together."""

from dataclasses import dataclass, field
from enum import StrEnum

from reconciler.types.origin import Origin


class Severity(StrEnum):
    """An error blocks what depends on it; a warning is only told."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Problem:
    """One finding. `code` is stable and machine-readable (`yaml-duplicate-key`); `hint` is the next step."""

    origin: Origin
    code: str
    message: str
    hint: str = ""
    severity: Severity = field(default=Severity.ERROR)

    def __str__(self) -> str:
        word = "" if self.severity is Severity.ERROR else f"{self.severity}: "
        hint = f" ({self.hint})" if self.hint else ""
        return f"{self.origin}: {word}{self.message}{hint}"
