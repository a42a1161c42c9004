"""What readers of deliveries share: signatures, ids, times, names of branches."""

import hashlib
import hmac
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Annotated, ClassVar

from msgspec import Meta

from webhooks.forge import Delivery, Reader, Unreadable, Unverified

Number = Annotated[int, Meta(ge=1, le=2**31 - 1)]
Id = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Name = Annotated[str, Meta(min_length=1, max_length=500, pattern=r"\A[^\x00-\x1f\x7f]*\Z")]
Commit = Annotated[str, Meta(pattern=r"\A([0-9a-f]{40}|[0-9a-f]{64})\Z")]
MaybeCommit = Annotated[str, Meta(pattern=r"\A([0-9a-f]{40}|[0-9a-f]{64})?\Z")]
"""The values that every forge's JSON has, as bounds for msgspec."""


def verify_hmac(delivery: Delivery, headers: Sequence[str], secrets: Iterable[str]) -> None:
    """Return if the first of these headers that is there has the HMAC-SHA256 of the body under one of the secrets, in hex, with or without `sha256=`.
    One that is wrong is not made good by another. Raises `Unverified`."""
    name = next((name for name in headers if name in delivery.headers), "")
    if not name:
        raise Unverified(f"the delivery is not signed: it has no {headers[0]}; give its webhook a secret")
    said = delivery.headers[name].removeprefix("sha256=")
    good = [same(hmac.new(secret.encode(), delivery.body, hashlib.sha256).hexdigest(), said) for secret in secrets if secret]
    if not any(good):
        raise Unverified(f"{name} is not the signature of the delivery under any of the secrets")


class SignedReader(Reader):
    """A forge that signs with HMAC-SHA-256 over the body, and says the delivery's id and kind in headers. They have no time; what was sent before is known
    by its id. Of each list of headers the first that is there counts."""

    signatures: ClassVar[Sequence[str]]
    ids: ClassVar[Sequence[str]]
    kinds: ClassVar[Sequence[str]]

    def verify(self, delivery: Delivery, secrets: Sequence[str], now: float) -> None:
        """See `Reader`."""
        del now
        verify_hmac(delivery, self.signatures, secrets)

    def id(self, delivery: Delivery) -> str:
        """See `Reader`."""
        return delivery_id(delivery, self.ids, self.kind(delivery))

    def kind(self, delivery: Delivery) -> str:
        """What happened, in the forge's word; empty if it does not say."""
        return next((delivery.headers[name] for name in self.kinds if name in delivery.headers), "")


def same(ours: str, said: str) -> bool:
    """Whether two secrets are equal, in a time that tells nothing."""
    return hmac.compare_digest(ours.encode(), said.encode(errors="surrogateescape"))


def delivery_id(delivery: Delivery, headers: Sequence[str], kind: str) -> str:
    """The first of these headers that is fit to be an id, else a hash of kind and body."""
    for name in headers:
        found = delivery.headers.get(name, "")
        if 0 < len(found) <= 100 and found.isascii() and found.isprintable():
            return found
    return hashlib.sha256(kind.encode(errors="surrogateescape") + b"\0" + delivery.body).hexdigest()


def seconds(text: str) -> float:
    """A time as forges write it (`2026-01-02T03:04:05.678Z`, `2026-01-02 03:04:05 UTC`), in seconds since the epoch. Raises `Unreadable`."""
    try:
        found = datetime.fromisoformat(text.removesuffix(" UTC") + ("+00:00" if text.endswith(" UTC") else ""))
    except ValueError:
        raise Unreadable("a time is not as documented") from None
    if found.tzinfo is None:
        raise Unreadable("a time has no zone")
    return found.timestamp()


def branch_of(ref: str) -> str:
    """The branch of `refs/heads/NAME`; empty for what is none."""
    return ref.removeprefix("refs/heads/") if ref.startswith("refs/heads/") else ""


def known(commit: str) -> str:
    """A commit, or empty where forges write zeros."""
    return commit if commit.strip("0") else ""
