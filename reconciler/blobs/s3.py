"""Blobs as objects of an S3 bucket, through boto3, which is imported only here and only when used (the extra `octofleet[s3]`).

Credentials come from the SDK's own environment: variables, a shared file, or the machine's role. The object of a blob is
`PREFIX` + `blobs/NAME`, with its end of life in its metadata. Listing tells no metadata, so each blob that expires also has an empty object
`PREFIX` + `expiring/SECONDS/NAME`, written first: what has expired is found without asking for each object.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from reconciler.blobs.blob_store import check_name
from reconciler.errors import OctofleetError, Permanent, RetryLater

KEY = "expires-at"
GONE = frozenset({"NoSuchKey", "404", "NotFound"})


@dataclass(frozen=True, kw_only=True)
class S3Blobs:
    """See `BlobStore`. `endpoint` and `region` may be empty: then the SDK chooses."""

    bucket: str
    prefix: str = ""
    endpoint: str = ""
    region: str = ""

    @property
    def place(self) -> str:
        """Bucket and prefix."""
        return f"s3://{self.bucket}/{self.prefix}" + (f" at {self.endpoint}" if self.endpoint else "")

    @cached_property
    def _client(self) -> Any:
        """Made at the first use; it may be shared by threads."""
        style = "path" if self.endpoint else "auto"  # a server of one's own seldom has a name for each bucket
        with self._speaking() as sdk:
            config = sdk.Config(s3={"addressing_style": style}, retries={"mode": "standard"}, connect_timeout=10, read_timeout=60)
            return sdk.client("s3", endpoint_url=self.endpoint or None, region_name=self.region or None, config=config)

    def put(self, name: str, body: bytes, expires_at: float | None = None) -> None:
        """See `BlobStore`."""
        key = self._key(name)
        with self._speaking():
            if expires_at is not None:
                self._client.put_object(Bucket=self.bucket, Key=self._marker(name, expires_at), Body=b"")
            metadata = {} if expires_at is None else {KEY: repr(float(expires_at))}
            self._client.put_object(Bucket=self.bucket, Key=key, Body=body, Metadata=metadata)

    def get(self, name: str) -> bytes | None:
        """See `BlobStore`."""
        key = self._key(name)
        with self._speaking():
            found = self._asked(self._client.get_object, key)
            if found is None:
                return None
            until = _until(found)
            body: bytes = found["Body"].read()
            return None if until is not None and until <= time.time() else body

    def until(self, name: str) -> float | None:
        """See `BlobStore`."""
        key = self._key(name)
        with self._speaking():
            return _until(self._asked(self._client.head_object, key))

    def delete(self, name: str) -> None:
        """See `BlobStore`."""
        key = self._key(name)
        with self._speaking():
            until = _until(self._asked(self._client.head_object, key))
            self._client.delete_object(Bucket=self.bucket, Key=key)
            if until is not None:
                self._client.delete_object(Bucket=self.bucket, Key=self._marker(name, until))

    def names(self, prefix: str = "") -> Iterator[str]:
        """See `BlobStore`."""
        gone = set(self.expired())
        return (name for name in self._listed("blobs/", prefix) if name not in gone)

    def expired(self) -> Iterator[str]:
        """See `BlobStore`. A marker whose blob has another end of life by now goes on the way."""
        now = time.time()
        for listed in self._listed("expiring/"):
            seconds, _, name = listed.partition("/")
            if not seconds.isdecimal() or int(seconds) > now:
                return
            until = self.until(name)
            if until is None or not listed.startswith(f"{_seconds(until)}/"):
                with self._speaking():
                    self._client.delete_object(Bucket=self.bucket, Key=f"{self.prefix}expiring/{listed}")
            elif until <= now:
                yield name

    def _key(self, name: str) -> str:
        return f"{self.prefix}blobs/{check_name(name)}"

    def _marker(self, name: str, until: float) -> str:
        return f"{self.prefix}expiring/{_seconds(until)}/{name}"

    def _listed(self, kind: str, prefix: str = "") -> Iterator[str]:
        """What follows the kind in the keys, in order."""
        start = f"{self.prefix}{kind}"
        with self._speaking():
            for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=start + prefix):
                yield from (item["Key"].removeprefix(start) for item in page.get("Contents", ()))

    def _asked(self, method: Any, key: str) -> Any:
        """The answer about an object, or None if there is none."""
        try:
            return method(Bucket=self.bucket, Key=key)
        except self._client.exceptions.ClientError as error:
            if error.response.get("Error", {}).get("Code") in GONE:
                return None
            raise

    @contextmanager
    def _speaking(self) -> Iterator["_Sdk"]:
        """The SDK, its errors in our words."""
        sdk = _sdk()
        try:
            yield sdk
        except sdk.ClientError as error:
            raise _failure(self.place, error.response.get("Error", {})) from error
        except sdk.BotoCoreError as error:
            hint = "check blobs.endpoint, the network, and the SDK's credentials (AWS_ACCESS_KEY_ID, ...)"
            raise RetryLater(f"cannot use the blob store {self.place}: {error}", after_s=10, hint=hint, code="blob") from error
        except ValueError as error:  # an endpoint that is no URL
            hint = "write blobs.endpoint as https://HOST"
            raise Permanent(f"cannot use the blob store {self.place}: {error}", hint=hint, code="settings") from error


class _Sdk(NamedTuple):
    """What is used of boto3."""

    client: Any
    Config: Any
    ClientError: type[Any]
    BotoCoreError: type[Any]


def _sdk() -> _Sdk:
    try:
        import boto3  # type: ignore[import-untyped]  # noqa: PLC0415 - an optional extra without types
        from botocore.config import Config  # type: ignore[import-untyped]  # noqa: PLC0415
        from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]  # noqa: PLC0415
    except ImportError:
        hint = "pip install 'octofleet[s3]', or choose another blobs.store"
        raise Permanent("the blob store s3 needs boto3, which is not installed", hint=hint, code="extra-missing") from None
    return _Sdk(boto3.client, Config, ClientError, BotoCoreError)


def _failure(place: str, said: dict[str, str]) -> OctofleetError:
    code, message = said.get("Code", ""), said.get("Message", "")
    text = f"cannot use the blob store {place}: {message or 'the server refused'} ({code})"
    if code in ("NoSuchBucket", "404"):
        return Permanent(text, hint="make the bucket, or correct blobs.bucket", code="blob")
    if code in ("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "403"):
        return Permanent(text, hint="check the SDK's credentials and that they may read, write, delete and list there", code="blob")
    return RetryLater(text, after_s=10, hint="try again; check the server", code="blob")


def _until(answer: Any) -> float | None:
    said = answer["Metadata"].get(KEY) if answer else None
    return None if said is None else float(said)


def _seconds(until: float) -> str:
    """Whole seconds, so written that texts sort as the numbers do."""
    return f"{int(until):013d}"
