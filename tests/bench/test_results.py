"""What is kept of a run: rows of other subjects, bars, growth, and the page that is made from it all."""

import json
from dataclasses import replace
from typing import Any

import pytest

from bench import bars
from bench.__main__ import PAGE, RESULTS, SECTIONS
from bench.measure import Row
from bench.page import Section, figure, page
from bench.peers import PEERS, Met
from bench.results import Found, merged

BEGINNINGS = {"plan": ("cold plan", "warm plan"), "render": ("render",)}


def row(name: str, hosts: int = 10_000, **more: Any) -> Row:
    given = {"seconds": 2.0, "cpu_s": 2.0, "peak_mib": 50.0, "floor": 1.0, "ratio": 2.0, "against": "floor: nothing"}
    return Row(name=name, hosts=hosts, **given | more)


def met(**more: Any) -> Met:
    given = {"name": "Terraform", "operation": "terraform plan", "version": "1.2.3", "hosts": 10_000, "seconds": 60.0, "cpu_s": 100.0}
    return Met(**{**given, "peak_mib": 1900.0, "note": "Comparable: both plan.", **more})


def names(results: dict[str, Any]) -> list[str]:
    return [each["name"] for each in results["rows"]]


def test_rows_of_subjects_that_were_not_measured_are_kept() -> None:
    old = {
        "rows": [{"name": "boot server, answers"}, {"name": "cold plan"}, {"name": "render, preseed"}, {"name": "warm plan, gone"}],
        "peers": {"render": [{"name": "Jinja2"}], "plan": [{"name": "gone"}]},
    }
    results = merged(old, {"plan": Found(rows=[row("cold plan", cpu_s=1 / 3)], peers=[met()], skipped=["no Salt"])}, BEGINNINGS, "2 cores")
    assert names(results) == ["cold plan", "render, preseed", "boot server, answers"]
    assert results["rows"][0]["cpu_s"] == 0.333333
    assert results["peers"]["render"] == [{"name": "Jinja2"}]
    assert [peer["name"] for peer in results["peers"]["plan"]] == ["Terraform"]
    assert results["skipped"] == {"plan": ["no Salt"]}
    again = merged(results, {"render": Found(rows=[row("render, grub")])}, BEGINNINGS, "2 cores")
    assert names(again) == ["cold plan", "render, grub", "boot server, answers"]
    assert again["skipped"] == {"plan": ["no Salt"]}


@pytest.mark.parametrize(
    ("given", "bar", "expected"),
    [
        (row(bars.COLD, cpu_s=2.5), "at most 2.5 CPU s", True),
        (row(bars.COLD, cpu_s=2.51), "at most 2.5 CPU s", False),
        (row(bars.COLD, hosts=100_000, cpu_s=20.0, ratio=10.5), "at most 25 CPU s, at most 10 times the floor", False),
        (row(bars.COLD, hosts=1_000), "", None),
        (row(bars.FIRST), "", None),
        (row(bars.ONE, seconds=0.005, ratio=9.0), "at most 5 ms", True),
        (row(bars.ONE, hosts=100_000, seconds=0.005, ratio=9.0), "at most 5 ms, at most 7 times the floor", False),
        (row(bars.ONE_P99, seconds=0.016), "at most 15 ms", False),
        (row(bars.NOTHING, seconds=0.34), "at most 0.35 s", True),
        (row(bars.PROFILE, cpu_s=4.1), "at most 4 CPU s", False),
    ],
)
def test_bars(given: Row, bar: str, expected: bool | None) -> None:
    judged = bars.judged(given)
    assert (judged.bar, judged.met) == (bar, expected)


def test_growth_is_of_cpu_for_cold_rows_and_of_seconds_for_one_change() -> None:
    small = [row(bars.COLD, cpu_s=2.0, seconds=9.0), row(bars.ONE, seconds=0.004, cpu_s=9.0), row(bars.NOTHING)]
    large = [
        replace(small[0], hosts=100_000, cpu_s=24.2),
        replace(small[1], hosts=100_000, seconds=0.008),
        replace(small[2], hosts=100_000),
    ]
    cold, one = bars.growth([*small, *large], 10_000, 100_000)
    assert (cold.name, round(cold.ratio, 6), cold.met, cold.bar) == ("growth, cold plan", 12.1, False, "within 12 times")
    assert (one.name, round(one.ratio, 6), one.met) == (f"growth, {bars.ONE}", 2.0, True)


def test_memory_is_held_against_the_number_of_hosts() -> None:
    rows = [
        row(bars.COLD, peak_mib=70.0),
        row(bars.NOTHING, peak_mib=71.5),
        row(bars.FIRST, peak_mib=71.0),
        row(bars.PROFILE, peak_mib=40.0),
    ]
    few, every = bars.memory(rows, 10_000)
    assert (few.bar, few.met, few.peak_mib) == ("at most 72 MiB", True, 71.5)
    assert few.against.endswith(bars.NOTHING)
    assert every.peak_mib == 71.0
    assert next(bars.memory([row(bars.COLD, hosts=100_000), row(bars.FIRST, hosts=100_000)], 100_000)).bar == "at most 204 MiB"


def test_a_peer_is_held_against_a_cold_plan() -> None:
    found = bars.against(PEERS[0], met(cpu_s=100.0), row(bars.COLD, cpu_s=4.0))
    assert (found.name, found.ratio, found.met, found.bar) == ("cold plan against Terraform", 0.04, True, "at least 25 times less")
    assert bars.against(PEERS[0], met(cpu_s=99.0), row(bars.COLD, cpu_s=4.0)).met is False
    assert bars.against(PEERS[2], met(), row(bars.COLD)).met is None


def test_names_of_rows_tell_what_they_measure() -> None:
    every = [*bars.LAYOUT_ROWS.values(), bars.FIRST, bars.NOTHING, bars.PROFILE, "memory, cold and warm plans"]
    every += [f"growth, {bars.ONE}", bars.ONE, bars.ONE_P99, bars.ONE_COMMAND, f"{bars.COLD} against {PEERS[0].name}"]
    for name in every:
        assert name.startswith(SECTIONS[0].beginnings)
        words = name.replace("-", " ").replace(",", "").split()
        assert ("one" in words) != bool({"cold", "warm"} & set(words) - ({"warm"} if "process" in words else set()))


PAGE_TEXT = """\
# Benchmarks

Written by `make bench`; do not edit.

1 of 2 bars are not met:

- warm plan, 10,000 hosts: at most 0.35 s; it is 1.23 s, 0.0123 CPU s, 50 MiB, ratio 0.500

Command: `make bench`. Machine: 2 cores.

## Plans

How it is measured.

| operation | hosts | seconds | CPU s | peak MiB | ratio | against | bar | met |
|---|---|---|---|---|---|---|---|---|
| cold plan | 10,000 | 2.00 | 2.00 | 50 | 2.00 | floor: nothing (1.00) | at most 2.5 CPU s | yes |
| warm plan | 10,000 | 1.23 | 0.0123 | 50 | 0.500 | floor: nothing (1.00) | at most 0.35 s | **no** |

### What the profile says

Why.

### Peers

Measured in the same run, for as many hosts.

| peer | version | hosts | seconds | CPU s | peak MiB |
|---|---|---|---|---|---|
| `terraform plan` | Terraform 1.2.3 | 10,000 | 60.0 | 100 | 1900 |

- Terraform: Comparable: both plan.

Not measured:

- no Salt

## Others

| operation | hosts | seconds | CPU s | peak MiB | ratio | against | bar | met |
|---|---|---|---|---|---|---|---|---|
| boot server, answers | 10,000 | 2.00 | 2.00 | 50 | 2.00 | floor: nothing (1.00) |  |  |
"""


def test_the_page_is_made_from_the_results() -> None:
    rows = [
        row("cold plan", bar="at most 2.5 CPU s", met=True),
        row("warm plan", seconds=1.234, cpu_s=0.01234, ratio=0.5, bar="at most 0.35 s", met=False),
    ]
    old = merged({}, {"others": Found(rows=[row("boot server, answers")])}, {"others": ("boot",)}, "")
    results = merged(old, {"plan": Found(rows=rows, peers=[met()], skipped=["no Salt"])}, BEGINNINGS, "2 cores")
    section = Section(name="plan", title="Plans", note="How it is measured.", findings="Why.", beginnings=BEGINNINGS["plan"])
    assert page(json.loads(json.dumps(results)), [section]) == PAGE_TEXT


def test_the_committed_page_is_what_the_committed_results_give() -> None:
    assert PAGE.read_text() == page(json.loads(RESULTS.read_text()), SECTIONS)


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0"), (0.000469, "0.000469"), (0.0123, "0.0123"), (1.234, "1.23"), (12.34, "12.3"), (1234.5, "1,234")]
)
def test_figures_have_three_digits(value: float, text: str) -> None:
    assert figure(value) == text
