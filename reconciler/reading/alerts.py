"""What people are told of, and who cannot be told."""

from reconciler.alert.channel import Channel
from reconciler.alert.condition import Condition
from reconciler.identity.sight import Sight
from reconciler.reading.call import Call
from reconciler.reading.next_step import over_http
from reconciler.reading.paging import Document, Paged, after, cursor_of
from reconciler.store.alerts import channels_in_force, failing, load_conditions


class AlertDocument(Document, frozen=True, kw_only=True):
    """Something that is so, `since` then."""

    key: str
    event: str
    source: str
    tenant: str
    subject: str
    text: str
    next: str
    since: float


class FailingReceiver(Document, frozen=True, kw_only=True):
    """A receiver that could not be told `failures` times in a row. `receiver` is its place in the channel, from 1."""

    channel: str
    receiver: int
    failures: int
    error: str


class Alerts(Document, frozen=True, kw_only=True):
    """Open alerts by key, and on the first page receivers that fail. `channels`: how many the caller sees."""

    items: list[AlertDocument]
    failing: list[FailingReceiver]
    channels: int
    next: str = ""


class AlertsAsk(Paged, frozen=True, kw_only=True):
    """`tenant`: only its alerts."""

    tenant: str = ""


def alerts(call: Call, ask: AlertsAsk) -> Alerts:
    """What is open, as the server saw it last."""
    key, sight = after(ask.cursor, str), call.sight
    with call.installation.store.read() as connection:
        found, dead, channels = load_conditions(connection), failing(connection), channels_in_force(connection)
    seen = [one for one in found.values() if ask.tenant in ("", one.tenant) and _sees(sight, one) and (not key or one.key > key[0])]
    seen.sort(key=lambda one: one.key)
    part = seen[: ask.limit]
    mine = [one for one in channels if sight.of_tenant(one.source, one.tenant)]
    return Alerts(
        items=[_document(one) for one in part],
        failing=[] if key else [said for one in mine for said in _failing(one, dead)],
        channels=len(mine),
        next=cursor_of(part[-1].key) if len(seen) > len(part) else "",
    )


def _sees(sight: Sight, one: Condition) -> bool:
    """What is across tenants by who sees all of the Fleet."""
    return sight.sees(one.source, one.tenant, one.subject) if one.tenant else sight.whole(one.source)


def _document(one: Condition) -> AlertDocument:
    return AlertDocument(
        key=one.key,
        event=one.event.value,
        source=one.source,
        tenant=one.tenant,
        subject=one.subject,
        text=one.text,
        next=over_http(one.next),
        since=one.since,
    )


def _failing(channel: Channel, dead: dict[str, tuple[int, str]]) -> list[FailingReceiver]:
    return [
        FailingReceiver(channel=channel.name, receiver=number + 1, failures=dead[line][0], error=dead[line][1])
        for number in range(len(channel.to))
        if (line := f"{channel.address}#{number}") in dead
    ]
