"""What surrounds every driver and is written in none: retries, redaction and logging. Concurrency is bounded where calls are made."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

from reconciler.drivers.driver import Context, Driver, DriverInfo, Inputs, Listed, Results, Step, Target
from reconciler.errors import OctofleetError, Permanent, RetryLater
from reconciler.logs import logger
from reconciler.secrets.redact import redactor
from reconciler.types.host import FleetScope
from reconciler.types.observation import Absent, Observation, Present, Unknown
from reconciler.types.outcome import Outcome
from reconciler.types.resource import Resource
from reconciler.types.values import SecretRef, SecretValue

if TYPE_CHECKING:
    from tenacity import RetryCallState

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Wrapped:
    """A driver with its surroundings; it is a driver itself. `attempts`: most calls for one request that fails with `RetryLater`."""

    driver: Driver
    attempts: int = 4

    @property
    def info(self) -> DriverInfo:
        """The driver's own."""
        return self.driver.info

    def resources(self, scope: FleetScope, inputs: Inputs) -> Iterator[Resource | str]:
        """Pure, so nothing surrounds it."""
        return self.driver.resources(scope, inputs)

    def observe(self, targets: Sequence[Target], context: Context) -> Mapping[str, Observation]:
        """Retried and redacted."""
        call = _Call(self, "observe", context)
        found = call.retried(lambda inner: self.driver.observe(targets, inner))
        return {address: call.cleaned(item) for address, item in found.items()}

    def apply(self, step: Step, context: Context) -> Results:
        """Retried under the same step id, which is the idempotency token; redacted."""
        call = _Call(self, "apply", context)
        return call.results(call.retried(lambda inner: self.driver.apply(step, inner)))

    def poll(self, operation: str, context: Context) -> Results:
        """Retried and redacted."""
        call = _Call(self, "poll", context)
        return call.results(call.retried(lambda inner: self.driver.poll(operation, inner)))

    def list(self, context: Context) -> Iterator[Listed]:
        """Streamed, so not retried as a whole."""
        return self.driver.list(context)

    def diff(self, target: Target, context: Context) -> str:
        """For people."""
        call = _Call(self, "diff", context)
        return call.redact(call.retried(lambda inner: self.driver.diff(target, inner)))


class _Call:
    """One request: knows which secrets it was given, and keeps them out of all that comes back."""

    def __init__(self, wrapped: Wrapped, what: str, context: Context) -> None:
        self._wrapped, self._what, self._outer = wrapped, what, context
        self._revealed: list[SecretValue] = []
        self._inner = replace(context, secret=self._secret, log=lambda line: context.log(self.redact(line)))

    def _secret(self, ref: SecretRef, tenant: str) -> SecretValue:
        value = self._outer.secret(ref, tenant)
        self._revealed.append(value)
        return value

    def redact(self, text: str) -> str:
        """The text without any secret of this call."""
        return redactor(self._revealed)(text) if self._revealed else text

    def cleaned(self, item: Observation) -> Observation:
        """An observation without secrets. A specification holds them by type, so that it is left alone."""
        if not self._revealed or isinstance(item, Present | Absent):
            return item
        if isinstance(item, Unknown):
            return replace(item, reason=self.redact(item.reason))
        fields = tuple(
            replace(field, before=self._tree(field.before), after=self._tree(field.after), diff=self.redact(field.diff))
            for field in item.fields
        )
        return replace(item, fields=fields, blind_spots=tuple(map(self.redact, item.blind_spots)))

    def _tree(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.redact(value)
        if isinstance(value, Mapping):
            return {key: self._tree(item) for key, item in value.items()}
        return [self._tree(item) for item in value] if isinstance(value, list | tuple) else value

    def results(self, results: Results) -> Results:
        """Outcomes without secrets in errors, outputs and observations."""
        return {where: self._ended(item) if isinstance(item, Outcome) else item for where, item in results.items()}

    def _ended(self, item: Outcome) -> Outcome:
        seen = self.cleaned(item.observation) if item.observation is not None else None
        return replace(item, error=self.redact(item.error), outputs=self._tree(item.outputs), observation=seen)

    def retried(self, call: Callable[[Context], T]) -> T:
        """Call, again after `RetryLater`, with growing waits that end at the context's deadline."""
        try:
            try:
                return call(self._inner)
            except RetryLater as error:
                return self._again(call, error)
        except OctofleetError as error:
            error.message, error.hint = self.redact(error.message), self.redact(error.hint)
            raise
        except Exception as error:  # noqa: BLE001 - a boundary: what a driver did not expect may hold a secret too
            raise Permanent(self.redact(f"{type(error).__name__}: {error}"), code="driver-failed") from None

    def _again(self, call: Callable[[Context], T], first: RetryLater) -> T:
        """All attempts but the first, which failed: nearly every call needs none, nor what they take to import."""
        from tenacity import Retrying, retry_if_exception_type, stop_after_attempt  # noqa: PLC0415 - see above

        retrying = Retrying(
            retry=retry_if_exception_type(RetryLater),
            stop=stop_after_attempt(self._wrapped.attempts),
            wait=self._pause,
            before_sleep=self._note,
            reraise=True,
        )
        failed = [first]

        def attempt() -> T:
            if failed:
                raise failed.pop()
            return call(self._inner)

        return retrying(attempt)

    def _pause(self, state: "RetryCallState") -> float:
        error = state.outcome.exception() if state.outcome else None
        after_s = error.after_s if isinstance(error, RetryLater) else 1.0
        return min(after_s * 2.0 ** (state.attempt_number - 1), max(0.0, self._outer.deadline - monotonic()))

    def _note(self, state: "RetryCallState") -> None:
        error = state.outcome.exception() if state.outcome else None
        text = self.redact(str(error))
        logger("octofleet.driver").info("retry", driver=self._wrapped.info.name, call=self._what, attempt=state.attempt_number, error=text)
