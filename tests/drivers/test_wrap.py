"""What surrounds a driver: how often a call is repeated, who is left alone, and what is logged of it."""

import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import pytest

from reconciler import logs, stages
from reconciler.drivers.breaker import UNAVAILABLE, Breakers, State, Unavailable
from reconciler.drivers.driver import Context, Driver, Inputs, Results, Step, Target, Work
from reconciler.drivers.memory import Fault, MemoryDriver, World
from reconciler.drivers.retry import Retries
from reconciler.drivers.wrap import Wrapped
from reconciler.errors import OctofleetError, Permanent, RetryLater, Stale
from reconciler.observe import observe
from reconciler.secrets.redact import redactor
from reconciler.types.change import Action
from reconciler.types.host import FleetScope
from reconciler.types.observation import Absent, Observation, Proposed, ProposedField, Unknown
from reconciler.types.outcome import Outcome, Pending, Status
from reconciler.types.resource import Recorded, Resource, parts
from reconciler.types.values import SecretRef, SecretValue
from reconciler.wiring import open_installation
from tests.drivers.contract import Contract, host


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


class Clock:
    """Goes on only when somebody sleeps."""

    def __init__(self) -> None:
        self.now = time.monotonic()
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept.append(seconds)

    def retries(self, attempts: int = 4, budget_s: float = 10.0, share: float = 1.0) -> Retries:
        """`share`: how much of the greatest wait is drawn."""
        return Retries(
            attempts=attempts, budget_s=budget_s, clock=self, sleep=self.sleep, draw=lambda low, high: low + share * (high - low)
        )


def never(seconds: float) -> None:
    raise AssertionError(f"slept {seconds} s")


def away(tmp_path: Path, failures: int, **more: Any) -> Away:
    return Away(world=World(str(tmp_path / "w.db")), failures=failures, **more)


@pytest.mark.parametrize(("failures", "calls"), [(0, 1), (1, 2), (3, 4)])
def test_a_call_is_repeated_while_it_asks_for_it(tmp_path: Path, inner: Context, failures: int, calls: int) -> None:
    driver = away(tmp_path, failures)
    assert Wrapped(driver=driver, retries=Clock().retries()).observe([], inner) == {}
    assert len(driver.calls) == calls


@pytest.mark.parametrize("attempts", [1, 2, 4])
def test_the_last_error_is_told_after_so_many_attempts(tmp_path: Path, inner: Context, attempts: int) -> None:
    driver = away(tmp_path, 9)
    with pytest.raises(RetryLater, match=r"away, with \*\*\*$"):
        Wrapped(driver=driver, retries=Clock().retries(attempts)).observe([], inner)
    assert len(driver.calls) == attempts


@pytest.mark.parametrize("error", [Permanent, Stale])
def test_another_error_is_not_repeated(tmp_path: Path, inner: Context, error: type[OctofleetError]) -> None:
    driver = away(tmp_path, 9, error=error)
    with pytest.raises(error, match=r"^\*\*\*"):
        Wrapped(driver=driver).observe([], inner)
    assert len(driver.calls) == 1


@pytest.mark.parametrize("debug", [True, False])
def test_repeated_calls_are_logged_for_debugging(
    tmp_path: Path, inner: Context, debug: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "_chosen", {"level": "debug" if debug else "warning", "form": "console"})
    Wrapped(driver=away(tmp_path, 2), retries=Clock().retries()).observe([], inner)
    said = capsys.readouterr()
    assert said.out == "" and "hunter2" not in said.err
    assert said.err.count("retry") == (2 if debug else 0)


# -- redaction

WORDS = {"shop": "word-of-the-shop", "bank": "word-of-the-bank"}
PRINTED = " ".join(WORDS.values())
SEEN = {"shop": "*** word-of-the-bank", "bank": "word-of-the-shop ***", "-": "*** ***"}


@dataclass(frozen=True, kw_only=True)
class Wordy(MemoryDriver):
    """Is given a secret of each tenant, and prints the same list of words wherever it can."""

    def _print(self, context: Context) -> None:
        for tenant in WORDS:
            context.secret(SecretRef(store="s", key="k"), tenant)
        context.log(PRINTED)

    def observe(self, targets: Sequence[Target], context: Context) -> Mapping[str, Observation]:
        self._print(context)
        field = ProposedField(path="/x", before={"deep": [PRINTED]}, after={"deep": [PRINTED]}, diff=PRINTED)
        said: Observation = Proposed(fields=(field,), blind_spots=(PRINTED,), digest="d", at=1.0)
        seen = {target.address: said for target in targets}
        return {**seen, **{where: Unknown(code="x", reason=PRINTED, at=1.0) for where in seen if where.endswith("-2")}}

    def apply(self, step: Step, context: Context) -> Results:
        return self._said([work.target for work in step.work], context)

    def poll(self, operation: str, context: Context) -> Results:
        return self._said([machine(tenant) for tenant in SEEN], context)

    def _said(self, targets: Sequence[Target], context: Context) -> Results:
        seen = self.observe(targets, context)
        return {
            where: Outcome(status=Status.FAILED, error=PRINTED, outputs={"deep": [PRINTED]}, observation=item)
            for where, item in seen.items()
        }

    def diff(self, target: Target, context: Context) -> str:
        self._print(context)
        return PRINTED


def machine(tenant: str, name: str = "h-1") -> Target:
    return Target(address=f"memory/machine/{tenant}/{name}")


def deep(value: object) -> set[str]:
    assert isinstance(value, dict)
    return set(value["deep"])


def said(item: Observation | None) -> set[str]:
    if isinstance(item, Unknown):
        return {item.reason}
    assert isinstance(item, Proposed)
    (field,) = item.fields
    return {field.diff, *item.blind_spots, *deep(field.before), *deep(field.after)}


def test_what_is_told_of_a_tenant_hides_its_own_secrets_alone(tmp_path: Path, inner: Context) -> None:
    logged: list[str] = []
    context = replace(inner, secret=lambda ref, tenant: SecretValue(WORDS[tenant]), log=logged.append)
    wrapped = Wrapped(driver=Wordy(world=World(str(tmp_path / "w.db"))))
    targets = [machine(tenant, name) for tenant in SEEN for name in ("h-1", "h-2")]
    seen = wrapped.observe(targets, context)
    assert {where: said(item) for where, item in seen.items()} == {t.address: {SEEN[parts(t.address)[2]]} for t in targets}
    step = Step(id="run.0", work=tuple(Work(action=Action.CREATE, target=target) for target in targets))
    for results in (wrapped.apply(step, context), wrapped.poll("op", context)):
        for where, result in results.items():
            assert isinstance(result, Outcome)
            assert {result.error, *deep(result.outputs), *said(result.observation)} == {SEEN[parts(where)[2]]}
    assert {tenant: wrapped.diff(machine(tenant), context) for tenant in SEEN} == SEEN
    assert set(logged) == {"*** ***"}, "a line may concern all of them"


def test_a_redactor_is_made_anew_only_when_more_was_revealed(tmp_path: Path, inner: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []

    def counted(values: Iterable[SecretValue]) -> Callable[[str], str]:
        known = list(values)
        made.append(len(known))
        return redactor(known)

    @dataclass(frozen=True, kw_only=True)
    class Growing(Wordy):
        def _print(self, context: Context) -> None:
            for key in ("first", "second"):
                for _ in range(50):
                    context.secret(SecretRef(store="s", key=key), "shop")
                    context.log(f"first-of-shop second-of-shop {key}")

    monkeypatch.setattr("reconciler.drivers.wrap.redactor", counted)
    logged: list[str] = []
    context = replace(inner, secret=lambda ref, tenant: SecretValue(f"{ref.key}-of-{tenant}"), log=logged.append)
    Wrapped(driver=Growing(world=World(str(tmp_path / "w.db")))).observe([machine("shop", f"h-{n}") for n in range(50)], context)
    assert made == [1, 2, 2], "one for the lines with each secret, and one for what is told of the tenant's hosts"
    assert logged == ["*** second-of-shop first"] * 50 + ["*** *** second"] * 50


# -- retries


def failing(after_s: float, calls: list[float], clock: Callable[[], float]) -> Callable[[], None]:
    def call() -> None:
        calls.append(clock())
        raise RetryLater("busy", after_s=after_s)

    return call


@pytest.mark.parametrize(("share", "waits"), [(1.0, [2, 3, 5]), (0.5, [1.5, 2, 3]), (0.0, [1, 1, 1])])
def test_waits_grow_by_chance_and_are_never_shorter_than_asked_for(inner: Context, share: float, waits: list[float]) -> None:
    clock, calls = Clock(), list[float]()
    with pytest.raises(RetryLater):
        clock.retries(share=share, budget_s=100).made(failing(1.0, calls, clock), inner)
    assert [after - before for before, after in pairwise(calls)] == pytest.approx(waits)


@pytest.mark.parametrize(
    ("budget_s", "deadline_s", "slept_s", "times"), [(4, 60, 4, 3), (60, 4, 4, 3), (0.5, 60, 0, 1), (60, 0.5, 0, 1), (60, -5, 0, 1)]
)
def test_all_waits_together_stay_within_the_budget_and_the_deadline(
    inner: Context, budget_s: float, deadline_s: float, slept_s: float, times: int
) -> None:
    clock, calls = Clock(), list[float]()
    context = replace(inner, deadline=clock() + deadline_s)
    with pytest.raises(RetryLater) as caught:
        clock.retries(attempts=99, budget_s=budget_s).made(failing(1.0, calls, clock), context)
    assert caught.value.after_s == 1.0
    assert sum(clock.slept) == pytest.approx(slept_s)
    assert len(calls) == times


def test_a_wait_beyond_the_budget_goes_on_to_the_caller_at_once(inner: Context) -> None:
    calls: list[float] = []
    with pytest.raises(RetryLater) as caught:
        Retries(budget_s=10, sleep=never).made(failing(11.0, calls, time.monotonic), inner)
    assert caught.value.after_s == 11.0 and len(calls) == 1


def test_nothing_sleeps_when_cancelled(inner: Context) -> None:
    calls: list[float] = []
    with pytest.raises(RetryLater):
        Retries(sleep=never).made(failing(1.0, calls, time.monotonic), replace(inner, cancelled=lambda: True))
    assert len(calls) == 1


def test_a_wait_ends_when_it_is_cancelled(inner: Context) -> None:
    clock, calls = Clock(), list[float]()
    with pytest.raises(RetryLater):
        clock.retries().made(failing(5.0, calls, clock), replace(inner, cancelled=lambda: len(clock.slept) >= 2))
    assert len(clock.slept) == 2 and sum(clock.slept) < 1 and len(calls) == 1


# -- breakers


@dataclass(frozen=True, kw_only=True)
class Clouds(MemoryDriver):
    """Every host is at the provider of its name's first part; a provider fails as `broken` says."""

    broken: dict[str, Callable[[Context], Exception]] = field(default_factory=dict)
    calls: list[tuple[str, ...]] = field(default_factory=list)

    def resources(self, scope: FleetScope, inputs: Inputs) -> Iterator[Resource]:
        for resource in super().resources(scope, inputs):
            provider = resource.group.split("/")[2].partition("-")[0]
            yield replace(resource, rules=replace(resource.rules, provider=provider))

    def _meet(self, targets: Sequence[Target], context: Context) -> None:
        known = [target.desired or target.recorded for target in targets]
        providers = {item.rules.provider for item in known if item is not None}
        self.calls.append(tuple(sorted(providers)))
        for provider in providers & self.broken.keys():
            raise self.broken[provider](context)

    def observe(self, targets: Sequence[Target], context: Context) -> Mapping[str, Any]:
        self._meet(targets, context)
        return super().observe(targets, context)

    def apply(self, step: Step, context: Context) -> Results:
        self._meet([work.target for work in step.work], context)
        return super().apply(step, context)

    def poll(self, operation: str, context: Context) -> Results:
        assert operation.startswith("{"), "a driver sees its own handle"
        return super().poll(operation, context)


class TestWrapped(Contract):
    """The surroundings keep the contract too, with a provider for each host."""

    lives: ClassVar[float] = 0.02

    def driver(self, tmp_path: Path) -> Driver:
        return Wrapped(driver=Clouds(world=World(str(tmp_path / "w.db")), operation_s=self.lives))

    def unreachable(self, driver: Driver) -> None:
        driver.driver.world.fail("*", Fault.UNKNOWN)  # type: ignore[attr-defined]

    def lists(self, resource: Resource) -> bool:
        return "/role/" not in resource.address


def busy(context: Context) -> Exception:
    return RetryLater("too many requests, hunter2hunter2" + context.secret(SecretRef(store="s", key="k"), "shop").reveal(), after_s=20)


class At:
    """Two hosts at two providers, and what surrounds their driver."""

    def __init__(self, tmp_path: Path, failures: int = 3, **more: Any) -> None:
        self.clock = Clock()
        self.driver = Clouds(world=World(str(tmp_path / "w.db")), **more)
        self.breakers = Breakers(failures=failures, open_s=30, most_s=100, clock=self.clock, draw=lambda low, high: high)
        self.wrapped = Wrapped(driver=self.driver, retries=self.clock.retries(), breakers=self.breakers)
        scope = FleetScope(fleet="test", tenants=(), hosts=[host("a-1"), host("b-1")])
        resources = [item for item in self.driver.resources(scope, None) if "/machine/" in item.address]  # type: ignore[arg-type]
        self.a, self.b = (Target(address=resource.address, desired=resource) for resource in resources)

    def fails(self, context: Context, *targets: Target) -> OctofleetError:
        with pytest.raises(OctofleetError) as caught:
            self.wrapped.observe(targets or (self.a,), context)
        return caught.value

    def step(self, *targets: Target) -> Step:
        return Step(id="run.0", work=tuple(Work(action=Action.CREATE, target=target) for target in targets))

    def state(self, provider: str) -> State:
        return self.wrapped.states()[f"memory/{provider}"].state


def opened(tmp_path: Path, inner: Context, **more: Any) -> At:
    at = At(tmp_path, **more)
    at.driver.broken["a"] = busy
    for _ in range(3):
        assert at.fails(inner).code == "retry-later"
    at.driver.calls.clear()
    return at


def test_a_provider_that_fails_again_and_again_is_left_alone(tmp_path: Path, inner: Context) -> None:
    at = opened(tmp_path, inner)
    found = at.wrapped.observe([at.a], inner)[at.a.address]
    assert isinstance(found, Unknown) and found.code == UNAVAILABLE
    assert "provider a of the driver memory has failed since 20" in found.reason and "it is tried again at 20" in found.reason
    with pytest.raises(Unavailable) as caught:
        at.wrapped.apply(at.step(at.a), inner)
    assert caught.value.message == found.reason and 0 < caught.value.after_s <= 30
    with pytest.raises(Unavailable):
        at.wrapped.diff(at.a, inner)
    assert at.driver.calls == [] and at.driver.world.effects() == [] and at.clock.slept == []


def test_no_secret_is_in_what_is_told_of_a_provider(tmp_path: Path, inner: Context) -> None:
    at = opened(tmp_path, inner)
    state = at.wrapped.states()["memory/a"]
    assert state.last_error.startswith("too many requests, ***") and "hunter2" not in repr(state)
    assert "hunter2" not in repr(at.wrapped.observe([at.a], inner))


def test_one_broken_provider_does_not_stop_the_others(tmp_path: Path, inner: Context) -> None:
    at = At(tmp_path)
    at.driver.broken["a"] = busy
    for wanted in ("retry-later", "retry-later", "retry-later", UNAVAILABLE):
        found = at.wrapped.observe([at.b, at.a], inner)
        assert isinstance(found[at.a.address], Unknown) and found[at.a.address].code == wanted  # type: ignore[union-attr]
        assert isinstance(found[at.b.address], Absent)
    assert at.driver.calls == [("b",), ("a",)] * 3 + [("b",)]
    assert (at.state("a"), at.state("b")) == (State.OPEN, State.CLOSED)
    results = at.wrapped.apply(at.step(at.a, at.b), inner)
    failed, done = results[at.a.address], results[at.b.address]
    assert isinstance(failed, Outcome) and failed.status is Status.FAILED and "provider a" in failed.error
    assert isinstance(done, Outcome) and done.status is Status.DONE
    assert [effect[2] for effect in at.driver.world.effects()] == [at.b.address]


def test_a_removed_resource_belongs_to_the_provider_of_its_record(tmp_path: Path, inner: Context) -> None:
    at = opened(tmp_path, inner)
    wanted = at.a.desired
    assert wanted is not None
    record = Recorded(
        address=wanted.address, source="test", digest=wanted.digest, rules=wanted.rules, group=wanted.group, external_id="", observed_digest="",
        commit="c",
    )  # fmt: skip
    found = at.wrapped.observe([Target(address=wanted.address, recorded=record)], inner)
    assert found[wanted.address].code == UNAVAILABLE  # type: ignore[union-attr]


def test_one_call_tries_whether_it_answers_again(tmp_path: Path, inner: Context) -> None:
    at = opened(tmp_path, inner)
    at.clock.now += 30
    at.driver.broken["a"] = lambda context: RetryLater("still busy", after_s=0.5)
    assert at.fails(inner).message == "still busy"
    assert len(at.driver.calls) == 1 and at.clock.slept == [], "a trial is one call"
    at.clock.now += 59
    assert at.wrapped.observe([at.a], inner)[at.a.address].code == UNAVAILABLE  # type: ignore[union-attr]
    at.clock.now += 1
    del at.driver.broken["a"]
    assert isinstance(at.wrapped.observe([at.a], inner)[at.a.address], Absent)
    state = at.wrapped.states()["memory/a"]
    assert state.state is State.CLOSED and state.failures == 0 and state.last_error == "" and state.next_try is None


def refused(context: Context) -> Exception:
    with socket.socket() as listener:  # a port on which nothing listens any more
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5)
    except OSError as error:
        raise RuntimeError("the library's own error") from error
    raise AssertionError


def no_secret(context: Context) -> Exception:
    try:
        context.secret(SecretRef(store="s", key="k"), "shop")
    except RetryLater as error:
        raise RetryLater("cannot log in", after_s=60) from error
    raise AssertionError


@pytest.mark.parametrize(
    ("error", "opens"),
    [
        (refused, True),
        (lambda context: TimeoutError("no answer"), True),
        (lambda context: RetryLater("busy", after_s=60), True),
        (lambda context: Permanent("no such size"), False),
        (lambda context: Stale("it has moved on"), False),
        (lambda context: KeyError("a driver's own fault"), False),
        (no_secret, False),
    ],
)
def test_only_what_speaks_of_the_provider_opens(tmp_path: Path, inner: Context, error: Callable[[Context], Exception], opens: bool) -> None:
    def sealed(ref: SecretRef, tenant: str) -> SecretValue:
        raise RetryLater("the store is sealed", after_s=60)

    at = At(tmp_path)
    at.driver.broken["a"] = error
    for _ in range(3):
        at.fails(replace(inner, secret=sealed))
    assert at.state("a") is (State.OPEN if opens else State.CLOSED)
    assert len(at.driver.calls) == 3, "none of these is tried again in place"


def test_a_handle_names_its_provider_for_another_process(tmp_path: Path, inner: Context) -> None:
    at, noted = At(tmp_path, operation_s=0.001), list[str]()
    result = at.wrapped.apply(at.step(at.a), replace(inner, checkpoint=noted.append))[at.a.address]
    assert isinstance(result, Pending) and noted == [result.operation]
    time.sleep(0.002)
    other = At(tmp_path)
    done = other.wrapped.poll(result.operation, inner)[at.a.address]
    assert isinstance(done, Outcome) and done.status is Status.DONE
    assert list(other.wrapped.states()) == ["memory/a"]


def test_a_poll_of_a_provider_that_is_left_alone_is_put_off(tmp_path: Path, inner: Context) -> None:
    at = opened(tmp_path, inner)
    with pytest.raises(Unavailable):
        at.wrapped.poll('@a {"step": "run.0"}', inner)
    assert at.wrapped.poll('@b {"step": "run.0"}', inner) == at.wrapped.poll('{"step": "run.0"}', inner) == {}


def test_retries_and_openings_are_counted_in_every_thread(tmp_path: Path, inner: Context) -> None:
    at, heard = At(tmp_path, failures=1, batch=1), list[tuple[str, int]]()
    at.driver.broken.update(dict.fromkeys("ab", lambda context: RetryLater("busy", after_s=0.5)))
    stages.counters.append(lambda what, number: heard.append((what, number)))
    try:
        with stages.timed() as timings:
            observe({"memory": at.wrapped}, [at.a, at.b], lambda: inner)
    finally:
        stages.counters.pop()
    assert timings.counts == {"driver_retries": 6, "breaker_opened": 2}
    assert sorted(heard) == [("breaker_opened", 1)] * 2 + [("driver_retries", 1)] * 6
    assert not timings.root.inner


def test_the_settings_say_how_often_and_how_long(tmp_path: Path) -> None:
    config = tmp_path / "octofleet.toml"
    config.write_text("[retry]\nattempts = 2\nbudget_s = 3\nbreaker_failures = 4\nbreaker_open_s = 5\nbreaker_open_most_s = 6\n")
    installation = open_installation(tmp_path / "data", config)
    for wrapped in installation.drivers.values():
        assert (wrapped.retries.attempts, wrapped.retries.budget_s) == (2, 3)
        assert (wrapped.breakers.failures, wrapped.breakers.open_s, wrapped.breakers.most_s) == (4, 5, 6)
    installation.close()
