"""A plan as steps: one call is about one provider, so that a broken one does not hold up what another is to do."""

from dataclasses import replace
from pathlib import Path

from reconciler.apply.steps import laid_out
from reconciler.types.resource import parts
from tests.apply.runs import Bench
from tests.drivers.contract import host


def test_a_step_is_of_one_provider(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    changes = bench.plan(*(host(f"{provider}-{number}") for number in (1, 2) for provider in ("a", "b"))).changes
    provider_of = {change.address: parts(change.address)[3][0] for change in changes}
    split = [replace(change, rules=replace(change.rules, provider=provider_of[change.address])) for change in changes]
    steps = laid_out(split, {"memory": bench.driver.info})[0]
    assert all(len({provider_of[item.address] for item in step.items}) == 1 for step in steps)
    assert len(steps) == 2 * len(laid_out(changes, {"memory": bench.driver.info})[0])
    assert sorted(item.address for step in steps for item in step.items) == sorted(provider_of)
