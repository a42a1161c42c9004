"""Expressions in CEL: what they may name, what is wrong with them, and what they say. Pure.

The library (see docs/decisions/0018) knows the type of every variable, so that a misspelt name or a text compared with a number is found before
anything runs, with its line and column. What runs is bounded by steps, and by what it may make (`growth`), not by a clock: the same expression ends the
same way on every machine.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from types import MappingProxyType
from typing import Any

from reconciler.gate.growth import grows

VARIABLES: Mapping[str, str] = MappingProxyType(
    {
        "change.action": "string",
        "change.driver": "string",
        "change.kind": "string",
        "change.tenant": "string",
        "change.movedFrom": "string",
        "change.causes": "list(string)",
        "change.risk": "list(string)",
        "change.protected": "bool",
        "change.fields": "list(map(string, dyn))",
        "change.count": "int",
        "plan.at": "timestamp",
        "plan.changes": "int",
        "plan.hosts": "int",
        "plan.hostsChanged": "int",
        "plan.share": "double",
        "plan.byAction": "map(string, int)",
        "plan.byCause": "map(string, int)",
        "plan.byRisk": "map(string, int)",
        "plan.byTenant": "map(string, int)",
        "plan.hostsByRisk": "map(string, int)",
        "who.identity": "string",
        "who.unattended": "bool",
        "who.roles": "list(string)",
    }
)
"""What an expression may name, with its type in CEL. docs/policies.md says what each means."""

_KNOWN = 4096


class Invalid(Exception):
    """An expression that cannot run. `line` and `column` are in its text, from 1."""

    def __init__(self, message: str, line: int = 1, column: int = 1) -> None:
        super().__init__(message)
        self.message, self.line, self.column = message, line, column


class Failed(Exception):
    """An expression that has no answer for these values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expression:
    """A compiled expression. `line` and `column`: where it begins, for a clause in the text of its rule."""

    text: str
    program: Any
    line: int = 1
    column: int = 1

    def value(self, activation: Any) -> Any:
        """What it says of these values. Raises `Failed`."""
        try:
            found = self.program.eval(activation)
            failed, value = found.type().name() == "ERROR", found.plain_value()
        except Exception as error:  # whatever the library raises: what cannot be judged must refuse, and must not end the plan
            message = _first_line(str(error))
            raise Failed("it takes too many steps" if "budget" in message else message) from error
        if failed:
            raise Failed(_first_line(str(value)))
        return value

    def holds(self, activation: Any) -> bool:
        """Whether it is true of these values. Raises `Failed`, for anything but true and false too."""
        found = self.value(activation)
        if not isinstance(found, bool):
            raise Failed(f"it gives a value of type {type(found).__name__}, not true or false")
        return found


def activation(values: Mapping[str, Any]) -> Any:
    """The values of all variables, to be evaluated with. What is no value of CEL fails where it is used. Raises `Failed`."""
    try:
        return _environment().Activation(dict(values))
    except Exception as error:  # as above
        raise Failed(_first_line(str(error))) from error


@cache
def _environment() -> Any:
    from cel_expr_python import cel  # type: ignore[import-untyped]  # noqa: PLC0415 - only where there are policies

    types = {
        "string": cel.Type.STRING,
        "bool": cel.Type.BOOL,
        "int": cel.Type.INT,
        "double": cel.Type.DOUBLE,
        "timestamp": cel.Type.TIMESTAMP,
        "list(string)": cel.Type.List(cel.Type.STRING),
        "map(string, int)": cel.Type.Map(cel.Type.STRING, cel.Type.INT),
        "list(map(string, dyn))": cel.Type.List(cel.Type.Map(cel.Type.STRING, cel.Type.DYN)),
    }
    return cel.NewEnv(variables={name: types[of] for name, of in VARIABLES.items()})


@lru_cache(_KNOWN)
def compiled(text: str) -> Expression:
    """An expression of any type. Raises `Invalid`."""
    return Expression(text=text, program=_program(text))


@lru_cache(_KNOWN)
def condition(text: str) -> Expression:
    """An expression that is true or false. Raises `Invalid`."""
    found = compiled(text)
    kind = found.program.return_type().name()
    if kind not in ("BOOL", "DYN"):
        raise Invalid(f"it must be true or false, and is of type {kind.lower()}")
    return found


def _program(text: str) -> Any:
    try:
        found = _environment().compile(text)
    except RuntimeError as error:
        raise _invalid(str(error)) from error
    if why := grows(found.serialize()):
        raise Invalid(why)
    return found


_PLACE = re.compile(r"ERROR: [^\n]*?:(?P<line>-?\d+):(?P<column>-?\d+): (?P<message>[^\n]*)")


def _invalid(said: str) -> Invalid:
    found = _PLACE.search(said)
    if found is None:
        return Invalid(_first_line(said))
    message = found["message"].replace(" (in container '')", "").removesuffix(" [INVALID_ARGUMENT]")
    return Invalid(message, max(1, int(found["line"])), max(1, int(found["column"])))


def _first_line(text: str) -> str:
    """What the library says, without its own codes."""
    line = text.partition("\n")[0]
    return re.sub(r"^[A-Z_]+: |( \[[A-Z_]+\])+$", "", line)


_TOKEN = re.compile(
    r"""\"{3}(?:\\.|[^\\])*?\"{3}|'{3}(?:\\.|[^\\])*?'{3}|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|//[^\n]*|&&|\|\||[?()\[\]{}]""", re.DOTALL
)
_SPACE = re.compile(r"(?:\s+|//[^\n]*)*")


@lru_cache(_KNOWN)
def clauses(text: str) -> tuple[Expression, ...]:
    """The parts of a condition that must all be true: what stands between its `&&`. Raises `Invalid` if the whole does not compile."""
    whole = condition(text)
    found = []
    for start, end in _spans(text):
        begin = _SPACE.match(text, start).end()  # type: ignore[union-attr]  # it matches nothing too
        line, column = text.count("\n", 0, begin) + 1, begin - text.rfind("\n", 0, begin)
        try:
            part = text[begin:end].rstrip()
            found.append(Expression(text=part, program=condition(part).program, line=line, column=column))
        except Invalid:
            return (whole,)
    return tuple(found)


def _spans(text: str) -> list[tuple[int, int]]:
    """Where the operands of the outermost `&&` stand; the whole where another operator binds less."""
    depth, begins, ends = 0, [0], []
    for token in _TOKEN.finditer(text):
        if token[0] in ("(", "[", "{"):
            depth += 1
        elif token[0] in (")", "]", "}"):
            depth -= 1
        elif depth == 0 and token[0] in ("||", "?"):
            return [(0, len(text))]
        elif depth == 0 and token[0] == "&&":
            ends.append(token.start())
            begins.append(token.end())
    return list(zip(begins, [*ends, len(text)], strict=True))


_HOLE = re.compile(r"\{([^{}]*)\}")


def holes(message: str) -> Iterator[tuple[int, str]]:
    """The expressions in a message, as in `{change.count} hosts`: where each begins in it, and its text."""
    return ((found.start(1), found[1]) for found in _HOLE.finditer(message))


def filled(message: str, values: Any) -> str:
    """A message with its expressions' values. One that has none stays as it is written: what it explains matters more."""

    def value(found: re.Match[str]) -> str:
        try:
            return _said(compiled(found[1]).value(values))
        except (Invalid, Failed):
            return found[0]

    return _HOLE.sub(value, message)


def _said(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_said, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
