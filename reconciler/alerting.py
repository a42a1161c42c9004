"""Alerts of a process that serves: looks at what is so, stores what each receiver is to be told, tells it, and stores that it was told.

Of many processes one at a time does it. Receivers do not wait for one another, and nothing waits for them: each is told by a thread of its own. What was
stored as tried and not as told when a process died is sent again by the next.
"""

import hashlib
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field, replace
from threading import Event as Flag
from threading import Thread

from reconciler import standard_webhook
from reconciler.alert import words
from reconciler.alert.channel import Channel, Webhook
from reconciler.alert.condition import Condition, Event
from reconciler.alert.document import data_of, document, id_of
from reconciler.alert.line import Line, Message, due, failed, follow, told, trying
from reconciler.errors import OctofleetError
from reconciler.events import Repeated, happened
from reconciler.noticing import Notices
from reconciler.sandbox import Sandbox
from reconciler.sending import INCIDENTS, Text, place_of, scheme_of, send
from reconciler.store.alerts import (
    channels_in_force,
    drop_lines,
    is_turn,
    load_conditions,
    load_lines,
    save_conditions,
    save_line,
    save_seen,
    seen_until,
    turn_may_come,
)
from reconciler.store.engine import Connection, Unavailable
from reconciler.wiring import Installation
from renderers.contract import RenderError

TICK_S = 1.0
SHARE = 20
"""A round is followed by a pause so many times as long as it took, so that looking never takes more than a small share of the time."""
MOST_AT_ONCE = 16
SEEN_S = 300.0
STOP_S = 3.0
TYPES = {Event.RUN_FAILED: "failure", Event.HOST_SILENT: "failure"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """A message on its way: to which line, by which channel, and when it was begun."""

    line: str
    channel: Channel
    message: Message
    future: "Future[None]"


@dataclass(kw_only=True)
class Alerts:
    """`worker` is the id under which this process is known. `run` is a thread's work."""

    installation: Installation
    worker: str
    _notices: Notices = field(default_factory=Notices)
    _sandbox: Sandbox = field(default_factory=Sandbox)
    _under_way: dict[str, Sending] = field(default_factory=dict)
    _trouble: Repeated = field(default_factory=Repeated)

    def run(self, stop: Flag) -> None:
        """Go round until told to stop; then what is under way has a moment to arrive. A database that is away is waited for."""
        while not stop.is_set():
            began = time.monotonic()
            self._round()
            self._pause(stop, max(TICK_S, SHARE * (time.monotonic() - began)))
        if self._under_way:
            wait([one.future for one in self._under_way.values()], STOP_S)
            self._round(begin=False)
        self._sandbox.close()

    def _round(self, *, begin: bool = True) -> None:
        try:
            self.once(begin=begin)
        except Unavailable:
            pass  # the loop tells of it
        except Exception as error:  # noqa: BLE001 - it goes on, whatever happened in one round
            self._trouble.happened("alerts-failed", error=f"{type(error).__name__}: {error}")

    def _pause(self, stop: Flag, most_s: float) -> None:
        """Until the next round, or until a message has arrived or not."""
        end = time.monotonic() + most_s
        while not stop.is_set() and (left := end - time.monotonic()) > 0:
            pending = [one.future for one in self._under_way.values() if not one.future.done()]
            if not pending:
                stop.wait(left)
            elif wait(pending, min(left, TICK_S), FIRST_COMPLETED).done:
                return

    def once(self, *, begin: bool = True) -> None:
        """One round: note what has arrived, look, store, and `begin` to send what is due. Nothing if another process does it."""
        arrived = {name: one for name, one in self._under_way.items() if one.future.done()}
        store = self.installation.store
        with store.read() as connection:
            if not turn_may_come(connection, self.worker):
                self._forget(arrived)
                return
            channels = channels_in_force(connection)
            before, seen = load_conditions(connection), seen_until(connection)
            silent_s = min((c.silent_s for c in channels if c.silent_s is not None and Event.HOST_SILENT in c.on), default=None)
            now = connection.now()
            found = self._notices.look(connection, before, seen or now, silent_s) if channels else {}
            lines = load_lines(connection)
        after = dict(_followed(channels, lines, found, arrived, now))
        ready = self._ready(channels, after, arrived, now) if begin else []
        after |= {name: trying(after[name], message) for name, _, message in ready}
        later, mine = now - seen >= SEEN_S, False
        if ready or later or before != found or lines != after:
            with store.write(alone=False) as connection:
                mine = is_turn(connection, self.worker)
                if mine:
                    save_conditions(connection, before, found)
                    _save_lines(connection, lines, after)
                if mine and later:
                    save_seen(connection, now)
        self._forget(arrived)
        for name, channel, message in ready if mine else ():
            self._begin(name, channel, message)

    def _forget(self, arrived: Iterable[str]) -> None:
        for name in arrived:
            self._under_way.pop(name, None)

    def _ready(
        self, channels: Iterable[Channel], lines: Mapping[str, Line], arrived: Mapping[str, Sending], now: float
    ) -> list[tuple[str, Channel, Message]]:
        """What is to be sent now, as far as there is room; first to those that did not fail the last time."""
        busy = self._under_way.keys() - arrived.keys()
        found = [
            (name, channel, message)
            for name, channel in _names(channels)
            if name not in busy and (message := due(lines[name], channel, now)) is not None
        ]
        return sorted(found, key=lambda item: lines[item[0]].failures)[: MOST_AT_ONCE - len(busy)]

    def _begin(self, name: str, channel: Channel, message: Message) -> None:
        """Send in a thread, which does not keep the process when that ends."""
        future = Future[None]()

        def sending() -> None:
            try:
                self._tell(name, channel, message)
            except BaseException as error:  # noqa: BLE001 - whoever looks at the future hears of it
                future.set_exception(error)
            else:
                future.set_result(None)

        self._under_way[name] = Sending(line=name, channel=channel, message=message, future=future)
        Thread(target=sending, name=f"alert {name}", daemon=True).start()

    def _tell(self, name: str, channel: Channel, message: Message) -> None:
        """Send a message; in a thread. Raises `OctofleetError` if it did not arrive."""
        receiver = channel.receivers[name.rpartition("#")[2]]
        if isinstance(receiver, Webhook):
            post(self.installation, channel, receiver, name, message)
            return
        url = self.installation.secrets.value(receiver, channel.tenant).reveal()
        send(url, texts(self._sandbox, channel, message, incidents=scheme_of(url) in INCIDENTS))


def _names(channels: Iterable[Channel]) -> Iterable[tuple[str, Channel]]:
    """Every line with its channel."""
    return ((f"{channel.address}#{number}", channel) for channel in channels for number in channel.receivers)


def _followed(
    channels: Iterable[Channel], lines: Mapping[str, Line], found: Mapping[str, Condition], arrived: Mapping[str, Sending], now: float
) -> Iterator[tuple[str, Line]]:
    """How things stand with each receiver that there is, after what has arrived or failed."""
    for name, channel in _names(channels):
        line = lines.get(name, Line())
        line = _settled(line, arrived[name], now) if name in arrived else line
        yield name, follow(line, [item for item in found.values() if channel.hears(item, now)], now)


def _settled(line: Line, one: Sending, now: float) -> Line:
    """The line after a message arrived or failed."""
    error = one.future.exception()
    if error is None:
        numbers = {"opened": len(one.message.opened), "still": len(one.message.still), "over": len(one.message.over)}
        happened("alert-sent", channel=one.channel.name, line=one.line, **numbers)
        return told(line, one.message, one.channel, now)
    text = error.message if isinstance(error, OctofleetError) else type(error).__name__
    happened("alert-failed", channel=one.channel.name, line=one.line, error=text, failures=line.failures + 1)
    return failed(line, text, now)


def _save_lines(connection: Connection, before: Mapping[str, Line], after: Mapping[str, Line]) -> None:
    for name, line in sorted(after.items()):
        save_line(connection, name, before.get(name, Line()), line)
    drop_lines(connection, sorted(before.keys() - after.keys()))


def texts(sandbox: Sandbox, channel: Channel, message: Message, *, incidents: bool) -> list[Text]:
    """A message as it is sent: one text, or where the receiver has incidents one for each topic, which opens its incident or ends it."""
    if not incidents:
        return [_text(sandbox, channel, message)]
    return [
        _text(
            sandbox, channel, part, incident=hashlib.sha256(f"{channel.address} {topic}".encode()).hexdigest(), ends=topic not in part.open
        )
        for topic, part in message.topics().items()
    ]


def _text(sandbox: Sandbox, channel: Channel, message: Message, *, incident: str = "", ends: bool = False) -> Text:
    values = words.variables(message, channel.name)
    shown = (*message.opened, *message.still)
    kinds = {TYPES.get(item.event, "warning") for item in shown}
    title = words.plain(_rendered(sandbox, channel.title, words.TITLE, "title", values)) or values["summary"]
    body = _rendered(sandbox, channel.body, words.BODY, "body", values)[: words.MOST_BODY]
    return Text(
        title=title,
        body=body if body.strip() else title,
        type="failure" if "failure" in kinds else "warning" if kinds else "success",
        incident=incident,
        ends=ends,
    )


def _rendered(sandbox: Sandbox, own: str, default: str, name: str, values: Mapping[str, object]) -> str:
    """A template filled in; the default one where the channel's own cannot be, as an alert is worth more than its form."""
    try:
        return sandbox.render(own or default, name, values).decode()
    except RenderError as error:
        if not own:
            raise
        note = f"(the template {name} of this channel cannot be used: {words.plain(error.message)})\n" if name == "body" else ""
        return note + sandbox.render(default, name, values).decode()


def post(installation: Installation, channel: Channel, hook: Webhook, name: str, message: Message) -> None:
    """Send a message to the webhook of a line. Raises `OctofleetError`."""
    keys, data, now = keys_of(installation, channel, hook), data_of(message, channel.name), time.time()
    standard_webhook.send(hook.url, keys, id_of(name, message, data), int(now), document(data, now))


def keys_of(installation: Installation, channel: Channel, hook: Webhook) -> list[bytes]:
    """What signs messages to a webhook. Raises `OctofleetError` if nothing may be sent there, or a secret cannot be read or is none."""
    standard_webhook.check_url(hook.url, http_loopback=installation.settings.alerts.http_loopback)
    return [standard_webhook.key_of(installation.secrets.value(ref, channel.tenant).reveal()) for ref in hook.secrets]


def try_out(installation: Installation, channel: Channel, receiver: str, at: float) -> str:
    """Send a test message to one receiver of a channel; an incident is opened and ended again. Gives the receiver as it may be shown. Raises
    `OctofleetError`."""
    tenant = channel.tenant or next(iter(sorted(channel.tenants)), "")
    test = Condition(
        event=Event.RUN_FAILED,
        source=channel.source,
        tenant=tenant,
        subject="test",
        text="this is a test: nothing is wrong",
        next="",
        since=at,
    )
    message = Message(opened=(test,), open=frozenset({test.topic}))
    to = channel.receivers[receiver]
    if isinstance(to, Webhook):
        post(installation, channel, to, f"{channel.address}#{receiver}", replace(message, after=at))
        return standard_webhook.place_of(to.url)
    sandbox = Sandbox()
    try:
        url = installation.secrets.value(to, channel.tenant).reveal()
        incidents = scheme_of(url) in INCIDENTS
        made = texts(sandbox, channel, message, incidents=incidents)
        send(url, made + (texts(sandbox, channel, Message(over=(test,)), incidents=True) if incidents else []))
        return place_of(url)
    finally:
        sandbox.close()
