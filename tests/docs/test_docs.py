"""The documentation against the code: links, quoted commands, generated pages, and what must not stand in it."""

import re
import shlex
import time
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from reconciler.cli import reference
from reconciler.cli.main import REMOTE, cli
from reconciler.drivers.driver import Step, Target, Work
from reconciler.types.change import Action
from reconciler.types.host import FleetScope, ResolvedHost
from reconciler.types.observation import Absent
from reconciler.types.origin import Origin
from webhooks.commands import Misunderstood, parse

ROOT = Path(__file__).resolve().parents[2]
NOT_OURS = {"build", "dist"}

BLOCK = re.compile(r"^```(?P<language>\w*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]\n]*\]\((?P<target>[^)\s]+)\)")
HEADING = re.compile(r"^#+ (?P<title>.+)$", re.MULTILINE)
SPAN = re.compile(r"(`+)[^`\n]+\1")
INLINE = re.compile(r"`(octofleet [^`\n]+)`")

MACHINE_PATHS = re.compile(r"(?<![\w.])/(?:home|Users|root|work|tmp|mnt)/[\w.]+")
# Written in pieces, so that this file does not name one itself.
REGISTRIES = [
    ".".join(name)
    for name in (("pypi", "org"), ("pythonhosted", "org"), ("npmjs", "org"), ("docker", "io"), ("ghcr", "io"), ("quay", "io"))
]


def _pages() -> list[Path]:
    inside = (path.relative_to(ROOT) for path in ROOT.rglob("*.md"))
    return sorted(path for path in inside if not any(part.startswith(".") or part in NOT_OURS for part in path.parts))


PAGES = _pages()
each_page = pytest.mark.parametrize("page", PAGES, ids=str)


def _text(page: Path) -> str:
    return (ROOT / page).read_text()


def _prose(text: str) -> str:
    """The text without its code blocks."""
    return BLOCK.sub("", text)


def _anchor(title: str) -> str:
    """A heading's anchor as GitHub makes it."""
    plain = re.sub(r"[^\w\s-]", "", title.replace("`", "").lower())
    return re.sub(r"\s", "-", plain.strip())


def _anchors(page: Path) -> set[str]:
    return {_anchor(found["title"]) for found in HEADING.finditer(_prose(page.read_text()))}


def _commands(text: str) -> Iterator[str]:
    """Every `octofleet` command line of `sh` and `console` blocks, and in code spans of the prose."""
    for found in BLOCK.finditer(text):
        if found["language"] in ("sh", "console"):
            for line in found["body"].splitlines():
                bare = line.strip().removeprefix("$ ")
                if bare.startswith("octofleet "):
                    yield bare.partition(" #")[0].strip()
    yield from INLINE.findall(_prose(text))


def test_there_are_pages() -> None:
    assert Path("README.md") in PAGES
    assert sum(len(list(_commands(_text(page)))) for page in PAGES) > 20


@each_page
def test_relative_links_resolve(page: Path) -> None:
    broken = []
    for found in LINK.finditer(SPAN.sub("", _prose(_text(page)))):
        target, _, anchor = found["target"].partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        there = (ROOT / page).parent / target if target else ROOT / page
        if not there.exists() or (anchor and anchor not in _anchors(there)):
            broken.append(found["target"])
    assert broken == []


def _wrong(line: str) -> str:
    """What is wrong with a quoted command, or nothing. Upper-case words stand for arguments."""
    words = shlex.split(line)[1:]
    group = click.Context(cli, info_name="octofleet")
    if words[:1] == ["--server"]:
        group.params["server"], words = "URL", words[2:]
        if not words or words == ["COMMAND"]:
            return ""
        if "|" in words[0]:
            return next((found for word in words[0].split("|") if word not in REMOTE and (found := f"{line}: no server does {word}")), "")
        if words[0] not in REMOTE:
            return f"{line}: no server does {words[0]}"
    if not words or words[0].startswith("-"):
        return "" if words in ([], ["--help"], ["--version"]) else f"{line}: no such option of octofleet"
    command = cli.get_command(group, words[0])
    if command is None:
        return f"{line}: there is no command {words[0]}"
    if isinstance(command, click.Group) and len(words) > 1 and not words[1].startswith(("-", "[")):
        below = command.get_command(click.Context(command, parent=group), words[1])
        if below is None:
            return f"{line}: {words[0]} has no command {words[1]}"
        command, words = below, words[1:]
    known = {name: option for option in command.params if isinstance(option, click.Option) for name in option.opts} | {"--help": None}
    skip = False
    for word in words[1:]:
        if skip:
            skip = False
        elif word.startswith("-") and word != "-":
            name, _, value = word.partition("=")
            if name not in known:
                return f"{line}: {words[0]} has no option {name}"
            option = known[name]
            skip = option is not None and not option.is_flag and not value
        elif word.startswith("["):
            continue  # the usage lines of the reference
    return f"{line}: an option lacks its value" if skip else ""


@each_page
def test_quoted_commands_exist(page: Path) -> None:
    if page.parts[:2] == ("docs", "decisions"):
        pytest.skip("records tell of their time")
    said_in_comments = page.name in COMMENTED or "tests/webhooks/golden/" in page.as_posix()
    assert [wrong for line in _commands(_text(page)) if (wrong := _wrong(line)) and not (said_in_comments and _is_comment(line))] == []


COMMENTED = {"pull-requests.md", "comment.md"}
"""Pages that tell of commands in comments, too."""


def _is_comment(line: str) -> bool:
    """Whether a comment on a pull request may say this."""
    try:
        return bool(parse(line.replace("[", "").replace("]", "")))
    except Misunderstood:
        return False


@pytest.mark.parametrize(
    "line",
    [
        "octofleet frobnicate",
        "octofleet --server URL validate",
        "octofleet --server URL plan|drift",
        "octofleet --server URL plan --out x",
        "octofleet plan --nope",
        "octofleet plan --rev",
        "octofleet audit nope",
        "octofleet audit verify --limit 1",
    ],
)
def test_a_wrong_command_is_found(line: str) -> None:
    assert _wrong(line)


PAGES_OF_CODE = [
    ("access.md", reference.access_page),
    ("command.md", reference.command_page),
    ("openapi.json", reference.openapi_page),
    ("routes.md", reference.routes_page),
    ("settings.md", reference.settings_page),
]


@pytest.mark.parametrize(("name", "made"), PAGES_OF_CODE)
def test_generated_pages_are_up_to_date(name: str, made: object) -> None:
    assert callable(made)
    assert (ROOT / "docs/reference" / name).read_text() == made(), "run make docs"


def test_generated_schema_pages_are_up_to_date(tmp_path: Path) -> None:
    from schemas.reference import main

    main([str(tmp_path)])
    stale = [path.name for path in sorted(tmp_path.iterdir()) if path.read_bytes() != (ROOT / "docs/reference" / path.name).read_bytes()]
    assert stale == [], "run make docs"


@each_page
def test_no_page_names_a_developers_machine(page: Path) -> None:
    assert MACHINE_PATHS.findall(_text(page)) == []


@pytest.mark.parametrize("page", [*PAGES, Path("Dockerfile"), Path("Makefile")], ids=str)
def test_no_page_names_a_registry(page: Path) -> None:
    assert [name for name in REGISTRIES if name in _text(page)] == []


def _flow() -> Iterator[tuple[str, str]]:
    """File and name of everything that a table of docs/flow.md points to; an empty name: the file alone."""
    for line in _text(Path("docs/flow.md")).splitlines():
        where = line.rstrip(" |").rpartition("|")[2] if line.startswith("|") else ""
        file = ""
        for word in re.findall(r"`([^`]+)`", where) if ".py`" in where else ():
            file = word if word.endswith(".py") else file
            yield file, "" if word == file else word


def test_what_the_flow_points_to_exists() -> None:
    points, missing = list(_flow()), []
    assert len(points) > 40
    for file, name in points:
        text = "".join(path.read_text() for path in (ROOT / "reconciler").glob(file))
        if not text or not all(re.search(rf"^\s*(?:def|class) {part}\b", text, re.MULTILINE) for part in name.split(".") if part):
            missing.append(f"{file} {name}")
    assert missing == []


def test_every_setting_is_documented_and_no_other() -> None:
    page = reference.settings_page()
    assert [key for key in reference.KEYS if f"`{key.rpartition('.')[2]}`" not in page] == []
    assert len(reference.KEYS) == page.count("\n| `")


def test_the_example_driver_works(tmp_path: Path) -> None:
    source = next(item["body"] for item in BLOCK.finditer(_text(Path("docs/writing-a-driver.md"))) if item["language"] == "python")
    module: dict[str, object] = {}
    exec(compile(source, "docs/writing-a-driver.md", "exec"), module)  # the page's own code
    driver = module["LabelsDriver"](tmp_path)  # type: ignore[operator]
    host = ResolvedHost(name="web-01", tenant="shop", values={"labels": {"site": "ams1"}}, roles=(), origin=Origin(path="host.yaml"))
    (wanted,) = driver.resources(FleetScope(fleet="main", hosts=[host]), None)
    target = Target(address=wanted.address, desired=wanted)
    assert isinstance(driver.observe([target], None)[wanted.address], Absent)
    driver.apply(Step(id="r.0", work=(Work(action=Action.CREATE, target=target),)), None)
    assert driver.observe([target], None)[wanted.address].digest == wanted.digest
    driver.apply(Step(id="r.1", work=(Work(action=Action.DELETE, target=Target(address=wanted.address)),)), None)
    assert driver.observe([target], None)[wanted.address].at <= time.time()
    assert isinstance(driver.observe([target], None)[wanted.address], Absent)
