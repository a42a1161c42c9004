"""What ansible-lint says of a project: the program (GPL, never imported) in a sandbox without network, secrets or anything of the data directory.

In: an exported project in a directory of its own. Out: findings by file and line of the project. The project's own `.ansible-lint` holds,
with its rules, plugins and `ansible.cfg`: all of these are code, which is why nothing runs where there is no sandbox.
"""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from reconciler.drivers.ansible.confined import Ended, run
from reconciler.drivers.ansible.isolation import Sight, why_not
from reconciler.drivers.ansible.process import Command
from reconciler.drivers.ansible.programs import environment_of, found

PROGRAM = "ansible-lint"
LIMIT_S = 180.0
MOST = 1_000
"""Findings of one project that are kept."""
MOST_TEXT = 300
FAILED = "failed"
"""The rule of a finding that says why there are no others."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that a rule found. `path` is in the project; `line` counts from 1, 0: the file as a whole."""

    path: str
    line: int
    column: int = 1
    rule: str
    text: str


def missing() -> str:
    """Why projects cannot be looked at on this machine; empty where they can."""
    if found(PROGRAM) is None:
        return f"the program {PROGRAM} is not installed"
    trouble = why_not()
    return f"{PROGRAM} runs only in a sandbox: {trouble}" if trouble else ""


@cache
def version() -> str:
    """Of ansible-lint and what it uses, as one line; empty without it."""
    program = found(PROGRAM)
    if program is None:
        return ""
    with TemporaryDirectory() as home:
        environment = environment_of(program, Path(home))
        ended = run(
            Command(line=[program, "--version", "--nocolor"], environment=environment, directory=Path(home), errors=False), limit_s=120
        )
    return re.sub(r"\x1b\[[0-9;]*m", "", ended.output).strip()[:200]


def lint(project: Path, installed: Path | None = None) -> list[Finding]:
    """Look at a project, an exported directory in a private one where more can be written; `installed`: what it requires. Raises OSError."""
    program = found(PROGRAM) or PROGRAM
    home = project.parent / "home"
    (home / "tmp").mkdir(parents=True, exist_ok=True)
    environment = environment_of(program, home) | {"ANSIBLE_LINT_SKIP_SCHEMA_UPDATE": "1", "ANSIBLE_LINT_NODEPS": "" if installed else "1"}
    if installed is not None:
        environment |= {
            "ANSIBLE_COLLECTIONS_PATH": f"{project / 'collections'}:{installed / 'collections'}",
            "ANSIBLE_ROLES_PATH": f"{project / 'roles'}:{installed / 'roles'}",
        }
    line = [program, "--offline", "--nocolor", "-q", "-f", "codeclimate", "--project-dir", "."]
    sight = Sight(writable=(project.parent,), readable=(installed,) if installed else (), network=False)
    ended = run(Command(line=line, environment=environment, directory=project, sight=sight, errors=False), limit_s=LIMIT_S)
    return list(_findings(ended))[:MOST]


def _findings(ended: Ended) -> Iterator[Finding]:
    """Of a report as Code Climate has them (its specification, "Issues"), which ansible-lint writes on one line."""
    if ended.stopped:
        yield Finding(path="", line=0, rule=FAILED, text=f"ansible-lint took more than {LIMIT_S:.0f} s, or said too much")
        return
    try:
        start = ended.output.index("[")
        rows = msgspec.json.decode(ended.output[start:].encode())
        yield from sorted((_finding(row) for row in rows), key=lambda one: (one.path, one.line, one.rule))
    except (ValueError, LookupError, TypeError, AttributeError):
        yield Finding(
            path="", line=0, rule=FAILED, text=f"ansible-lint ended with {ended.code} and no report; see the project's .ansible-lint"
        )


def _finding(row: dict[str, Any]) -> Finding:
    place = row["location"]
    begin = place["positions"]["begin"] if "positions" in place else {"line": place["lines"]["begin"]}
    line, path = begin["line"], PurePosixPath(place["path"])
    detail = (row.get("content") or {}).get("body", "")
    text = str(row["description"]) + (f" {detail}" if detail and detail != row["description"] else "")
    outside = path.is_absolute() or ".." in path.parts
    return Finding(
        path="" if outside else str(path),
        line=0 if outside else int(line if isinstance(line, int) else line["line"]),
        column=int(begin.get("column") or 1),
        rule=str(row["check_name"])[:100],
        text=" ".join(text.split())[:MOST_TEXT],
    )
