"""Conditions and channels as tests need them."""

from typing import Any

from reconciler.alert.channel import Channel
from reconciler.alert.condition import Condition, Event
from reconciler.types.values import SecretRef


def condition(subject: str = "host/shop/web-01", event: Event = Event.DRIFT_FOUND, **more: Any) -> Condition:
    found = {"source": "f", "tenant": "shop", "text": "a text", "next": "do it", "since": 0.0} | more
    return Condition(event=event, subject=subject, **found)


def channel(**more: Any) -> Channel:
    found = {"address": "fleet/alertchannel/-/c", "source": "f", "tenant": "", "name": "c", "on": frozenset(Event), "group_s": 30.0} | more
    return Channel(to=(SecretRef(store="s", key="url"),), **found)
