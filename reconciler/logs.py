"""Loggers that cost nothing until they log: structlog is imported at the first line."""

from typing import Any


class _Lazy:
    def __init__(self, name: str) -> None:
        self.name = name

    def __getattr__(self, level: str) -> Any:
        import structlog

        return getattr(structlog.get_logger(self.name), level)


def logger(name: str) -> _Lazy:
    return _Lazy(name)
