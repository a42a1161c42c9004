"""Log lines on stderr: `key=value`, or one JSON object a line. structlog takes longer to import than many a command runs, so the first line that is
written imports it.

Ask for a logger where a line is written, not when a module is imported.
"""

import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Any

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
FIRST = ["timestamp", "level", "event"]
_chosen = {"level": "warning", "form": "console"}


def choose(*, level: str | None = None, form: str | None = None) -> None:
    """What is logged from now on and how: `level` is `debug`, `info`, `warning` or `error` (this one and worse), `form` `console` or `json`. What is not
    named stays as it is."""
    _chosen.update({key: value for key, value in (("level", level), ("form", form)) if value is not None})


def enabled(level: str) -> bool:
    """Whether lines of that level are written."""
    return LEVELS[level] >= LEVELS[_chosen["level"]]


def logger(name: str) -> "Logger":
    """Writes lines of the chosen level; `name` says which part of Octofleet does."""
    return Logger(name)


class Logger:
    """`info("retry", attempt=2)` writes a line with these fields and those that are `bound`."""

    def __init__(self, name: str) -> None:
        self._name = name

    def log(self, level: str, event: str, /, **fields: Any) -> None:
        """Write a line if that level is logged."""
        if enabled(level):
            getattr(_structlog(), level)(event, logger=self._name, **fields)

    def debug(self, event: str, **fields: Any) -> None:
        """For whoever looks into Octofleet itself."""
        self.log("debug", event, **fields)

    def info(self, event: str, **fields: Any) -> None:
        """As it should be."""
        self.log("info", event, **fields)

    def warning(self, event: str, **fields: Any) -> None:
        """Worth a look."""
        self.log("warning", event, **fields)


def _structlog() -> Any:
    import structlog  # noqa: PLC0415 - see above

    form = _chosen["form"]
    last = structlog.processors.JSONRenderer(default=str) if form == "json" else structlog.processors.LogfmtRenderer(key_order=FIRST)
    processors: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _plain,
        last,
    ]
    return structlog.wrap_logger(structlog.WriteLogger(sys.stderr), processors=processors)


def _plain(logger: Any, method: str, line: dict[str, Any]) -> dict[str, Any]:
    """The fields in a fixed order; in a line for people, without line ends and control characters: what came from outside must not look like ours."""
    del logger, method
    ordered = {key: line.pop(key) for key in FIRST if key in line} | line
    if _chosen["form"] == "json":
        return ordered
    return {key: _printable(value) if isinstance(value, str) else value for key, value in ordered.items()}


def _printable(text: str) -> str:
    return text if text.isprintable() else "".join(char if char.isprintable() else " " for char in text)


def bound(**ids: Any) -> AbstractContextManager[object]:
    """Every line that this thread writes in the block has these fields too. Only where more than warnings are logged: each of those names what it is
    about itself."""
    if not enabled("info"):
        return nullcontext()
    import structlog  # noqa: PLC0415 - see above

    return structlog.contextvars.bound_contextvars(**ids)
