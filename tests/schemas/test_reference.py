"""The reference pages say what the schemas say."""

import re
from itertools import pairwise
from pathlib import Path

import pytest

import schemas
from schemas.reference import INDEX, SETTINGS, main, pages
from tests.conftest import ROOT
from tests.schemas.documents import EXAMPLE

PAGES = pages(EXAMPLE)


@pytest.mark.parametrize("name", PAGES)
def test_docs_reference_is_up_to_date(name: str) -> None:
    assert (ROOT / "docs" / "reference" / name).read_text() == PAGES[name], "run: python -m schemas.reference docs/reference"


def test_there_is_a_page_for_every_kind_and_for_what_they_share() -> None:
    assert set(PAGES) == {INDEX, SETTINGS, *(f"{kind.lower()}.md" for kind in schemas.KINDS)}


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_to_pages_and_headings(name: str) -> None:
    for file, _, anchor in re.findall(r"\]\(([a-z-]+\.md)(#([a-z-]+))?\)", PAGES[name]):
        headings = [line.lstrip("# ").lower().replace(" ", "-") for line in PAGES[file].splitlines() if line.startswith("#")]
        assert not anchor or anchor in headings


@pytest.mark.parametrize("name", PAGES)
def test_every_row_of_a_table_has_as_many_cells_as_its_head(name: str) -> None:
    lines = PAGES[name].splitlines()
    for before, line in pairwise(lines):
        if before.startswith("| ") and line.startswith("| "):
            assert before.replace("\\|", "").count("|") == line.replace("\\|", "").count("|")


def test_the_command_writes_the_pages_and_leaves_other_files_alone(tmp_path: Path) -> None:
    (tmp_path / "cli.md").write_text("of another generator")
    main([str(tmp_path), "--examples", str(EXAMPLE)])
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == PAGES | {"cli.md": "of another generator"}
