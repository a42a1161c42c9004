"""A channel as its manifest says it, and what it wants to hear. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from reconciler.alert.condition import Condition, Event
from reconciler.types.duration import seconds_of
from reconciler.types.resource import parts, tenant_of
from reconciler.types.values import Secret, SecretRef, Spec

GROUP, MESSAGES, PER = "30s", 20, "1h"


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """A receiver of signed messages; each of the secrets signs, so that one can replace the other."""

    url: str
    secrets: tuple[SecretRef, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """An AlertChannel in force. `source` is the Fleet that it belongs to; `tenants` is empty for all; times in seconds, `repeat_s` and `silent_s` None
    for never."""

    address: str
    source: str
    tenant: str
    name: str
    to: tuple[SecretRef, ...]
    on: frozenset[Event]
    tenants: frozenset[str] = frozenset()
    silent_s: float | None = None
    group_s: float = 30.0
    repeat_s: float | None = None
    messages: int = MESSAGES
    per_s: float = 3600.0
    title: str = ""
    body: str = ""
    webhooks: tuple[Webhook, ...] = ()

    @property
    def receivers(self) -> dict[str, SecretRef | Webhook]:
        """Who is told, by a name that is the last part of its line's: those of `to`, and webhooks."""
        return {str(number): item for number, item in enumerate(self.to)} | {f"w{n}": item for n, item in enumerate(self.webhooks)}

    def hears(self, condition: Condition, now: float) -> bool:
        """Whether it wants to be told of something now."""
        return (
            condition.event in self.on
            and condition.source == self.source
            and (not self.tenants or condition.tenant in self.tenants)
            and (condition.event is not Event.HOST_SILENT or (self.silent_s is not None and now - condition.since >= self.silent_s))
        )


def channel_of(address: str, source: str, spec: Spec) -> Channel:
    """The channel with this specification on record."""
    owner, name, limit, said = tenant_of(address), parts(address)[3], spec.get("limit", {}), spec.get("templates", {})
    return Channel(
        address=address,
        source=source,
        tenant=owner,
        name="/".join(filter(None, (owner, name))),
        to=_refs(spec.get("to", ())),
        webhooks=tuple(Webhook(url=item["url"], secrets=_refs(item["secrets"])) for item in spec.get("webhooks", ())),
        on=frozenset(map(Event, spec.get("on", Event))),
        tenants=frozenset([owner] if owner else spec.get("tenants", ())),
        silent_s=_seconds(spec.get("silentAfter")),
        group_s=seconds_of(spec.get("group", GROUP)),
        repeat_s=_seconds(spec.get("repeat")),
        messages=limit.get("messages", MESSAGES),
        per_s=seconds_of(limit.get("per", PER)),
        title=said.get("title", ""),
        body=said.get("body", ""),
    )


def _refs(items: Iterable[object]) -> tuple[SecretRef, ...]:
    return tuple(item.ref for item in items if isinstance(item, Secret))


def _seconds(text: str | None) -> float | None:
    return None if text is None else seconds_of(text)
