"""What surrounds every driver and is written in none: retries, circuit breakers, redaction and logging. Concurrency is bounded where calls are
made.

A call whose targets have several providers is one call for each of them, so that one which is broken does not stop the others.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ParamSpec, TypeVar

from reconciler.drivers.breaker import Breakers, BreakerState, Unavailable
from reconciler.drivers.driver import Context, Driver, DriverInfo, Inputs, Listed, Results, Step, Target
from reconciler.drivers.raised import Raised
from reconciler.drivers.retry import Retries
from reconciler.errors import OctofleetError, Permanent, RetryLater, Stale, causes
from reconciler.events import happened
from reconciler.secrets.redact import redactor
from reconciler.types.host import FleetScope
from reconciler.types.observation import Absent, Observation, Present, Unknown
from reconciler.types.outcome import Outcome, Pending, Status
from reconciler.types.resource import Resource, tenant_of
from reconciler.types.values import SecretRef, SecretValue

T = TypeVar("T")
P = ParamSpec("P")
Redact = Callable[[str], str]
MARK = "@"
"""What a handle begins with that names its provider: `@eu HANDLE`."""


@dataclass(frozen=True, kw_only=True)
class Wrapped:
    """A driver with its surroundings; it is a driver itself."""

    driver: Driver
    retries: Retries = field(default_factory=Retries)
    breakers: Breakers = field(default_factory=Breakers)

    @property
    def info(self) -> DriverInfo:
        """The driver's own."""
        return self.driver.info

    def states(self) -> Mapping[str, BreakerState]:
        """How each provider stands that was called, by `driver/provider`; the driver alone for what has no provider."""
        return self.breakers.states()

    def resources(self, scope: FleetScope, inputs: Inputs) -> Iterator[Resource | str]:
        """Pure, so nothing surrounds it."""
        return self.driver.resources(scope, inputs)

    def observe(self, targets: Sequence[Target], context: Context) -> Mapping[str, Observation]:
        """Retried and redacted. What belongs to a provider that is left alone is `Unknown`; so is what belongs to one of several that failed."""
        found: dict[str, Observation] = {}
        parts = _by_provider(targets, lambda target: target)
        for provider, part in parts.items():
            try:
                found |= self._looked(provider, part, context)
            except OctofleetError as error:
                if len(parts) == 1 and not isinstance(error, Unavailable):
                    raise
                unknown = Unknown(code=error.code, reason=error.message, at=time.time())
                found |= {target.address: unknown for target in part}
        return found

    def _looked(self, provider: str, targets: Sequence[Target], context: Context) -> Mapping[str, Observation]:
        call = _Call(self, "observe", context, provider)
        found = call.made(lambda inner: self.driver.observe(targets, inner))
        return {address: call.cleaned(address, item) for address, item in found.items()}

    def apply(self, step: Step, context: Context) -> Results:
        """Retried under the same step id, which is the idempotency token towards each provider; redacted. What one of several providers failed to
        do has ended; a step of one provider raises.
        """
        results: dict[str, Outcome | Pending] = {}
        parts = _by_provider(step.work, lambda work: work.target)
        for provider, part in parts.items():
            try:
                results |= self._applied(provider, replace(step, work=tuple(part)), context)
            except OctofleetError as error:
                if len(parts) == 1:
                    raise
                status = Status.STALE if isinstance(error, Stale) else Status.FAILED
                results |= {work.target.address: Outcome(status=status, error=str(error)) for work in part}
        return results

    def _applied(self, provider: str, step: Step, context: Context) -> Results:
        call = _Call(self, "apply", context, provider)
        return call.results(call.made(lambda inner: self.driver.apply(step, inner)))

    def poll(self, operation: str, context: Context) -> Results:
        """Retried and redacted. The handle names the provider."""
        provider, handle = _opened(operation)
        call = _Call(self, "poll", context, provider)
        return call.results(call.made(lambda inner: self.driver.poll(handle, inner)))

    def list(self, context: Context) -> Iterator[Listed]:
        """Streamed, so not retried as a whole."""
        return self.driver.list(context)

    def diff(self, target: Target, context: Context) -> str:
        """For people."""
        call = _Call(self, "diff", context, _provider(target))
        text = call.made(lambda inner: self.driver.diff(target, inner))
        return call.redactor(target.address)(text)


def _provider(target: Target) -> str:
    """Empty for what has none."""
    known = target.desired or target.recorded
    return known.rules.provider if known is not None else ""


def _by_provider(items: Iterable[T], target: Callable[[T], Target]) -> dict[str, list[T]]:
    """At least one part: a driver may be asked about nothing."""
    parts: dict[str, list[T]] = {}
    for item in items:
        parts.setdefault(_provider(target(item)), []).append(item)
    return parts or {"": []}


def _handle(provider: str, operation: str) -> str:
    """An operation's handle as the journal has it: it outlives this process, and so does the provider's name in it."""
    return f"{MARK}{provider} {operation}" if provider or operation.startswith(MARK) else operation


def _opened(handle: str) -> tuple[str, str]:
    """The provider, and the operation as the driver gave it."""
    if not handle.startswith(MARK):
        return "", handle
    provider, _, operation = handle.removeprefix(MARK).partition(" ")
    return provider, operation


class _Call:
    """One request: knows which secrets it was given, and keeps them out of all that comes back.

    What is told of a resource is kept free of its own tenant's secrets alone: what is hidden in it would else tell the secrets of other tenants.
    """

    def __init__(self, wrapped: Wrapped, what: str, context: Context, provider: str) -> None:
        self._wrapped, self._what, self._outer, self._provider = wrapped, what, context, provider
        self._revealed: dict[str, dict[str, SecretValue]] = {}
        self._redactors: dict[str, tuple[int, Redact]] = {}
        self._ours = Raised()
        self._inner = replace(
            context,
            secret=self._ours.by(self._secret),
            export=self._ours.by(context.export),
            content=self._ours.by(context.content),
            checkpoint=self._ours.by(lambda operation: context.checkpoint(_handle(provider, operation))),
            log=lambda line: context.log(self.redact(line)),
        )

    def _secret(self, ref: SecretRef, tenant: str) -> SecretValue:
        value = self._outer.secret(ref, tenant)
        self._revealed.setdefault(tenant, {})[value.reveal()] = value
        return value

    def redact(self, text: str) -> str:
        """The text without any secret of this call: it may concern several tenants."""
        return self.redactor("")(text)

    def redactor(self, address: str) -> Redact:
        """Keeps the secrets of an address's tenant out of texts; those of all tenants for what belongs to none. Made anew only when more was revealed."""
        tenant = tenant_of(address) if address.count("/") >= 3 else ""
        revealed = [self._revealed.get(tenant, {})] if tenant else list(self._revealed.values())
        number = sum(map(len, revealed))
        known = self._redactors.get(tenant)
        if known is None or known[0] != number:
            known = number, redactor([value for found in revealed for value in list(found.values())])
            self._redactors[tenant] = known
        return known[1]

    def cleaned(self, address: str, item: Observation) -> Observation:
        """An observation without secrets. A specification holds them by type, so that it is left alone."""
        if not self._revealed or isinstance(item, Present | Absent):
            return item
        redact = self.redactor(address)
        if isinstance(item, Unknown):
            return replace(item, reason=redact(item.reason))
        fields = tuple(
            replace(field, before=_tree(redact, field.before), after=_tree(redact, field.after), diff=redact(field.diff))
            for field in item.fields
        )
        return replace(item, fields=fields, blind_spots=tuple(map(redact, item.blind_spots)))

    def results(self, results: Results) -> Results:
        """Outcomes without secrets in errors, outputs and observations; operations with their provider."""
        return {where: self._ended(where, item) if isinstance(item, Outcome) else self._going_on(item) for where, item in results.items()}

    def _ended(self, address: str, item: Outcome) -> Outcome:
        redact = self.redactor(address)
        seen = self.cleaned(address, item.observation) if item.observation is not None else None
        return replace(item, error=redact(item.error), outputs=_tree(redact, item.outputs), observation=seen)

    def _going_on(self, item: Pending) -> Pending:
        return replace(item, operation=_handle(self._provider, item.operation))

    def made(self, call: Callable[[Context], T]) -> T:
        """Call, unless the provider is left alone; again after `RetryLater`, but for the one call that tries whether it answers."""
        wrapped = self._wrapped
        key = f"{wrapped.info.name}/{self._provider}" if self._provider else wrapped.info.name
        once = replace(wrapped.retries, attempts=1)

        def made(trial: bool) -> T:
            return (once if trial else wrapped.retries).made(lambda: call(self._inner), self._outer, self._note)

        try:
            return wrapped.breakers.call(key, made, self._blame)
        except OctofleetError as error:
            error.message, error.hint = self.redact(error.message), self.redact(error.hint)
            raise
        except Exception as error:  # noqa: BLE001 - a boundary: what a driver did not expect may hold a secret too
            raise Permanent(self.redact(f"{type(error).__name__}: {error}"), code="driver-failed") from None

    def _blame(self, error: BaseException) -> str | None:
        """What an error says of the provider. `Permanent` and `Stale` are about one change; a secret store that is away is not the provider."""
        if self._ours.is_cause(error):
            return None
        if isinstance(error, RetryLater):
            return self.redact(error.message)
        if isinstance(error, OctofleetError) or not any(map(_unreachable, causes(error))):
            return None
        return self.redact(f"{type(error).__name__}: {error}")

    def _note(self, attempt: int, error: RetryLater) -> None:
        text = self.redact(str(error))
        happened("driver-retry", driver=self._wrapped.info.name, call=self._what, attempt=attempt, error=text)


def _tree(redact: Redact, value: Any) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {key: _tree(redact, item) for key, item in value.items()}
    return [_tree(redact, item) for item in value] if isinstance(value, list | tuple) else value


def _unreachable(error: BaseException) -> bool:
    """Whether it is a connection that failed or a time-out. Libraries raise their own classes from one of these."""
    from socket import gaierror  # noqa: PLC0415 - only where something failed
    from subprocess import TimeoutExpired  # noqa: PLC0415 - see above

    return isinstance(error, ConnectionError | TimeoutError | gaierror | TimeoutExpired)
