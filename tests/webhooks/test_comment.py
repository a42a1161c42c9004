"""The comment on a pull request: golden files (`UPDATE_GOLDEN=1` renews them), what it never says, and how it is made to fit."""

import os
import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.webhooks.cases import CASES, beside, boot_files, distinct, lost, many_hosts, said, secret, unknown, zone
from webhooks.comment import LIMIT, comment
from webhooks.fit import units
from webhooks.forge import Verdict
from webhooks.said import TAG, Shows
from webhooks.telling import status_of

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("name", CASES)
def test_a_comment_reads_as_in_the_golden_file(name: str) -> None:
    text, path = comment(CASES[name]()), GOLDEN / f"{name}.md"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()
    assert text == comment(CASES[name]())
    assert text.startswith(TAG)
    assert units(text) <= LIMIT


@pytest.mark.parametrize("name", [name for name in CASES if CASES[name]().outcome is None])
def test_the_heading_says_what_the_commit_status_says(name: str) -> None:
    made = CASES[name]()
    signs = {Verdict.SUCCESS: "🟢🟡", Verdict.PENDING: "🟡", Verdict.FAILURE: "🔴", Verdict.ERROR: "🔴"}
    heading = next(line for line in comment(made).splitlines() if line.startswith("## "))
    assert heading.split()[1] in signs[status_of(made).verdict]


def test_there_is_no_golden_file_without_a_case() -> None:
    assert {path.stem for path in GOLDEN.glob("*.md")} == set(CASES)


def test_values_seen_in_the_world_stay_behind_the_link_unless_the_fleet_opts_in() -> None:
    hidden, shown = comment(beside()), comment(beside(Shows(observed_values=True)))
    for value in ("0777", "the old text", "-old"):
        assert value not in hidden
        assert value in shown
    assert "192.0.2.7" not in comment(unknown())
    assert "192.0.2.7" in comment(unknown(Shows(observed_values=True)))
    assert "`hosts/db.yaml` has problems" in comment(unknown())


@pytest.mark.parametrize("name", ["approvals", "locks", "gates", "small"])
def test_names_of_people_stay_behind_the_link_unless_the_fleet_opts_in(name: str) -> None:
    made = replace(CASES[name](), requirements=[replace(item, who="") for item in CASES[name]().requirements])
    hidden, shown = (comment(replace(made, shows=Shows(names=names))) for names in (False, True))
    assert not any(person in hidden for person in ("ada@", "local:ada", "grace"))
    assert any(person in shown for person in ("ada@", "local:ada", "grace")) or name == "approvals"


def test_a_secret_shows_only_what_it_refers_to() -> None:
    text = comment(secret())
    assert "vault/db#password" in text
    assert "0" * 64 not in text
    assert "in the clear" not in text


def test_hosts_with_the_same_changes_are_one_exemplar() -> None:
    text = comment(many_hosts())
    assert "1,240 hosts, the same 3 changes, shown for <code>host/shop/web-0000</code>" in text
    assert len(text) < 4_000


def test_equal_differences_of_files_are_shown_once() -> None:
    text = comment(boot_files())
    assert text.count("+timezone: Europe/Berlin") == 2, "one for the fold of three hosts, one for the other host"
    assert "`boot/user-data/shop/web-00`, `boot/meta-data/shop/web-00`" in text


def test_a_forge_without_html_gets_none() -> None:
    for case in CASES.values():
        text = comment(replace(case(), folding=False))
        outside = [line for line in text.splitlines() if line.startswith("<")]
        assert outside == []


def test_differences_go_first_then_rows_and_all_is_counted() -> None:
    whole = comment(distinct(120, 20, beside_too=5), limit=10**9)
    assert "shortened" not in whole
    for limit in (31_000, 20_000, 8_000):
        text = comment(distinct(120, 20, beside_too=5), limit)
        assert units(text) <= limit
        assert "**This comment is shortened so that it fits**: all is in [the full plan](" in text
        if "```diff" in text:
            assert "more\n" not in text, "no row is left out while a difference is shown"
    small = comment(distinct(400, 3), 8_000)
    left = int(small.partition("\n- and ")[2].partition(" more")[0])
    rows = sum(line.startswith("- <") or "`host/shop/" in line for line in small.splitlines())
    assert rows + left == 400


def test_the_destructive_block_is_whole_as_long_as_there_is_room_and_counted_else() -> None:
    assert all(f"`fleet/host/shop/db-{n:03d}`" in comment(lost(100)) for n in range(100))
    text = comment(lost(1000))
    assert "**delete 1,000** `fleet/host/shop` (destructive): `db-000`" in text
    assert "and 994 more" in text
    assert "**1,000 of 1,240** recorded `fleet/host` (80.6%) would be removed; the cap is 124." in text
    assert text.index("Destructive") < text.index("| tenant |")


def test_a_comment_without_a_link_says_where_the_plan_is() -> None:
    made = said([zone("web-01")], full="", full_file="octofleet plan --rev cccccccccc")
    assert "the full plan (`octofleet plan --rev cccccccccc`)" in comment(made)
    assert "](" not in comment(replace(made, full="javascript:alert(1)"))


@pytest.mark.parametrize("name", [name for name in CASES if CASES[name]().view is not None])
def test_the_hosts_of_the_first_line_add_up(name: str) -> None:
    line = next(line for line in comment(CASES[name]()).splitlines() if " reached by this pull request" in line)
    everyone, _, *parts = (int(number.replace(",", "")) for number in re.findall(r"[\d,]*\d", line))
    assert everyone == sum(parts)
