"""A user's own Jinja2 template in place of a renderer.

In: the template's source, its name for messages, `values`. Out: bytes. Must not read files, reach Python objects, or let a template change
`values`. Time and memory are limited by the process that calls this; here only cheap bombs are refused. Sources: Jinja2, "Sandbox".
"""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any

import jinja2
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from renderers import escape, yaml
from renderers.contract import RenderError

FILTERS = {
    "shell": escape.shell,
    "kickstart": escape.kickstart,
    "preseed": escape.preseed,
    "ipxe": escape.ipxe,
    "grub": escape.grub,
    "kernel_arg": escape.kernel_arg,
    "sudoers": escape.sudoers,
    "xml": escape.markup,
    "batch": escape.batch,
    "powershell": escape.powershell,
    "esxi": escape.esxi,
    "boot_cfg": escape.boot_cfg,
}
LARGEST = 1_000_000  # characters of one repetition, digits of one power


class _Environment(ImmutableSandboxedEnvironment):
    """The immutable sandbox, with repetition and powers bounded."""

    intercepted_binops = frozenset({"*", "**", "%"})

    def call_binop(self, context: jinja2.runtime.Context, operator: str, left: Any, right: Any) -> Any:
        """Refuse what would make a huge value from a short expression; Jinja2 calls this for every intercepted operator."""
        if operator == "*":
            sized, count = (left, right) if isinstance(right, int) else (right, left)
            if isinstance(sized, str | list | tuple) and isinstance(count, int) and len(sized) * count > LARGEST:
                raise OverflowError(f"a repetition is longer than {LARGEST}")
        elif operator == "**" and isinstance(left, int) and isinstance(right, int) and left.bit_length() * abs(right) > LARGEST:
            raise OverflowError("a power is too large")
        elif operator == "%" and isinstance(left, str):
            raise SecurityError("the % operator on a string is not available: use ~ to join strings")
        return super().call_binop(context, operator, left, right)


def _text(value: Any, name: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise TypeError(f"the filter {name} takes a string or a number, not {type(value).__name__}")


def _filter(name: str) -> Any:
    return lambda value: FILTERS[name](_text(value, name))


def _yaml_filter(value: Any) -> str:
    return yaml.scalar(value)


def _environment() -> _Environment:
    made = _Environment(undefined=jinja2.StrictUndefined, autoescape=False, keep_trailing_newline=True)
    made.filters |= {name: _filter(name) for name in FILTERS}
    made.filters["yaml"] = _yaml_filter
    return made


_ENVIRONMENT = _environment()
_FAILURES = (
    jinja2.TemplateError,
    RenderError,
    ArithmeticError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
    RecursionError,
    MemoryError,
)


def render_template(source: str, name: str, values: Mapping[str, Any]) -> bytes:
    """Render `source` with the top-level keys of `values` as its variables; UTF-8.

    Every failure (syntax, an undefined name, an operation the sandbox refuses, a value a filter refuses) is a RenderError whose message
    says the template's name and line; its pointer is empty, or the field's where a filter refused one.
    """
    try:
        code = _ENVIRONMENT.compile(source, name, name)
        template = jinja2.Template.from_code(_ENVIRONMENT, code, _ENVIRONMENT.make_globals(None))
        return template.render(dict(values)).encode()
    except _FAILURES as error:
        line = error.lineno if isinstance(error, jinja2.TemplateSyntaxError) else _line(error.__traceback__, name)
        pointer = error.pointer if isinstance(error, RenderError) else ""
        reason = error.message if isinstance(error, RenderError | jinja2.TemplateError) else str(error)
        raise RenderError(pointer, f"template {name}, line {line or '?'}: {reason or type(error).__name__}") from error


def _line(trace: TracebackType | None, name: str) -> int | None:
    """The innermost line of the template `name` in a traceback that Jinja2 has rewritten to template lines."""
    found = None
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == name:
            found = trace.tb_lineno
        trace = trace.tb_next
    return found
