"""The bench's machines are real to the server: what is counted is what was handed out and installed."""

from pathlib import Path

import pytest

from bench import netboot
from bench.measure import Machine
from bench.netboot import Pass, measure
from bench.results import Options


def passes(seconds: float, good: int = 100) -> Pass:
    return Pass(seconds=seconds, cpu_s=0.1, good=good)


@pytest.mark.parametrize(
    ("ours", "bare", "met"), [(passes(1.25), passes(1.0), True), (passes(1.3), passes(1.0), False), (passes(0.5, 99), passes(1.0), False)]
)
def test_a_rate_counts_only_if_all_answers_were_the_hosts_own(ours: Pass, bare: Pass, met: bool) -> None:
    assert netboot._rate("scripts", 100, ours, bare, 10.0).met is met


def test_machines_boot_until_all_are_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(netboot, "QUICK", netboot.Sizes(rate=20, power=20, at_once=10, picture=20))
    rows = {row.name: row for row in measure(Machine(directory=tmp_path), Options(hosts=(1_000,))).rows}
    assert len(rows) == 6
    assert rows["netboot, power-on, 10 at once"].met
    for name in netboot.WHAT.values():
        assert "(20 of 20)" in rows[f"netboot, {name}"].bar
