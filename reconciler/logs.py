"""Log lines, to stderr. structlog takes as long to import as many a command runs, so the first logger that is asked for imports it.

Ask for one where a line is written, not when a module is imported.
"""

import sys
from typing import Any

_chosen = {"level": "warning"}


def set_level(*, debug: bool) -> None:
    """Warnings and worse, or everything: for every logger that is asked for later."""
    _chosen["level"] = "debug" if debug else "warning"


def logger(name: str) -> Any:
    """A structlog logger of the chosen level."""
    import structlog  # noqa: PLC0415 - see above

    wrapper = structlog.make_filtering_bound_logger(_chosen["level"])
    structlog.configure(wrapper_class=wrapper, logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    return structlog.get_logger(name)
