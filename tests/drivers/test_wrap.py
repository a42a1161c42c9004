"""What surrounds a driver: how often a call is repeated, and what is logged of it."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from reconciler import logs
from reconciler.drivers.driver import Context
from reconciler.drivers.memory import MemoryDriver, World
from reconciler.drivers.wrap import Wrapped
from reconciler.errors import OctofleetError, Permanent, RetryLater
from reconciler.types.values import SecretRef, SecretValue


@dataclass(frozen=True, kw_only=True)
class Away(MemoryDriver):
    """Cannot be reached for so many calls; each tells a secret."""

    failures: int
    calls: list[int] = field(default_factory=list)
    error: type[OctofleetError] = RetryLater

    def observe(self, targets: Sequence[Any], context: Context) -> Mapping[str, Any]:
        self.calls.append(1)
        if len(self.calls) <= self.failures:
            told = context.secret(SecretRef(store="s", key="k"), "shop").reveal()
            raise RetryLater(f"away, with {told}", after_s=0.001) if self.error is RetryLater else self.error(told, code="x")
        return {}


@pytest.fixture
def inner(tmp_path: Path) -> Context:
    return Context(
        deadline=time.monotonic() + 60,
        scratch=tmp_path,
        secret=lambda ref, tenant: SecretValue("hunter2hunter2"),
        export=lambda tree, into: None,
        content=lambda blob: b"",
        log=lambda line: None,
        checkpoint=lambda operation: None,
    )


def away(tmp_path: Path, failures: int, **more: Any) -> Away:
    return Away(world=World(str(tmp_path / "w.db")), failures=failures, **more)


@pytest.mark.parametrize(("failures", "calls"), [(0, 1), (1, 2), (3, 4)])
def test_a_call_is_repeated_while_it_asks_for_it(tmp_path: Path, inner: Context, failures: int, calls: int) -> None:
    driver = away(tmp_path, failures)
    assert Wrapped(driver=driver).observe([], inner) == {}
    assert len(driver.calls) == calls


@pytest.mark.parametrize("attempts", [1, 2, 4])
def test_the_last_error_is_told_after_so_many_attempts(tmp_path: Path, inner: Context, attempts: int) -> None:
    driver = away(tmp_path, 9)
    with pytest.raises(RetryLater, match=r"away, with \*\*\*$"):
        Wrapped(driver=driver, attempts=attempts).observe([], inner)
    assert len(driver.calls) == attempts


def test_another_error_is_not_repeated(tmp_path: Path, inner: Context) -> None:
    driver = away(tmp_path, 9, error=Permanent)
    with pytest.raises(Permanent, match=r"^\*\*\*"):
        Wrapped(driver=driver).observe([], inner)
    assert len(driver.calls) == 1


@pytest.mark.parametrize("debug", [True, False])
def test_repeated_calls_are_logged_for_debugging(
    tmp_path: Path, inner: Context, debug: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "_chosen", {})
    logs.set_level(debug=debug)
    Wrapped(driver=away(tmp_path, 2)).observe([], inner)
    said = capsys.readouterr()
    assert said.out == "" and "hunter2" not in said.err
    assert said.err.count("retry") == (2 if debug else 0)
