"""A message as the JSON document that a webhook gets: `alerts.v1`. Pure.

Fields may be added to it; one that is taken away or means something else makes it `alerts.v2`.
"""

import hashlib
import json
from datetime import UTC, datetime
from typing import Any

from reconciler.alert.condition import Condition
from reconciler.alert.line import Message
from reconciler.alert.words import LISTS, plain, summary

TYPE = "alerts.v1"
MOST = 100
"""So many of each list are told; how many more there are is a number."""


def data_of(message: Message, channel: str) -> dict[str, Any]:
    """What the document is about: the same for the same message, however often it is sent."""
    lists = {name: getattr(message, name) for name in LISTS}
    return {"channel": channel, "summary": summary(message), "unsaid": message.unsaid} | {
        "more": {name: max(len(found) - MOST, 0) for name, found in lists.items()},
        **{name: [_alert(item) for item in found[:MOST]] for name, found in lists.items()},
    }


def document(data: dict[str, Any], at: float) -> bytes:
    """The whole document, sent at a time in seconds since the epoch."""
    return json.dumps({"type": TYPE, "timestamp": _iso(at), "data": data}, separators=(",", ":")).encode()


def id_of(line: str, message: Message, data: dict[str, Any]) -> str:
    """The id of a message to a receiver: the same when it is sent again, another one once it was told."""
    said = json.dumps([line, message.after, data], sort_keys=True)
    return f"msg_{hashlib.sha256(said.encode()).hexdigest()[:32]}"


def _alert(item: Condition) -> dict[str, str]:
    found = {name: plain(str(getattr(item, name))) for name in ("source", "tenant", "subject", "text", "next")}
    return {"event": str(item.event), "since": _iso(item.since)} | found


def _iso(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%S}Z"
