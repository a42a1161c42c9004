"""One secret from a KV mount of HashiCorp Vault or OpenBao, through hvac, which is imported only here and only when used.

In: a store and a key `path#field` (`value` when no field is named). Out: text. Follows developer.hashicorp.com/vault/api-docs/secret/kv
(versions 1 and 2) and its status codes. Causes are cut off (`from None`): an HTTP error carries the request, and with it the token.
"""

import os
import re
from typing import Any

from reconciler.errors import OctofleetError, Permanent, RetryLater
from reconciler.secrets.directory import bad_key, missing
from reconciler.secrets.settings import VaultStore

TIMEOUT_S = 10.0

_KEY = re.compile(r"(?P<path>[A-Za-z0-9_][A-Za-z0-9._ -]*(/[A-Za-z0-9_][A-Za-z0-9._ -]*)*)(#(?P<field>[^#\s/]{1,128}))?")


def from_vault(store: VaultStore, key: str) -> str:
    """The latest version of a field. Raises Permanent, and RetryLater when the server is down, sealed or busy."""
    found = _KEY.fullmatch(key)
    if found is None or ".." in key or len(key) > 512:
        raise bad_key(store.name, key, "a key is path#field, for instance db/main#password")
    fields = _fields(store, key, found["path"])
    value = fields.get(found["field"] or "value") if isinstance(fields, dict) else None
    if value is None:
        raise missing(store.name, key, f"write the field {found['field'] or 'value'!r}, or name another one after #")
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise Permanent(
            f"the key {key!r} of the secret store {store.name} is not a text", hint="store it as a text", code="secret-encoding"
        )
    return str(value)


def _fields(store: VaultStore, key: str, path: str) -> Any:
    try:
        import hvac  # type: ignore[import-untyped]  # noqa: PLC0415 - an optional extra; hvac has no stubs
        import requests  # noqa: PLC0415
    except ImportError:
        hint = "pip install 'octofleet[vault]'"
        raise Permanent(f"the secret store {store.name} needs hvac, which is not installed", hint=hint, code="extra-missing") from None
    token = _token(store)
    try:
        client = hvac.Client(
            url=store.url,
            token=token,
            namespace=store.namespace or None,
            verify=str(store.ca_file) if store.ca_file else True,
            timeout=TIMEOUT_S,
        )
        if store.kv_version == 1:
            return client.secrets.kv.v1.read_secret(path=path, mount_point=store.mount)["data"]
        return client.secrets.kv.v2.read_secret_version(path=path, mount_point=store.mount, raise_on_deleted_version=True)["data"]["data"]
    except hvac.exceptions.VaultError as error:
        raise _refused(store, key, error) from None
    except requests.exceptions.SSLError:
        hint = f"set secrets.stores.{store.name}.ca_file to the certificate authority of {store.url}"
        raise Permanent(f"the secret store {store.name} has a certificate that is not trusted", hint=hint, code="untrusted-host") from None
    except requests.exceptions.RequestException as error:
        message = f"the secret store {store.name} at {store.url} cannot be reached ({type(error).__name__})"
        raise RetryLater(message, after_s=10, hint="check the address and the network", code="secret-unreachable") from None
    except OSError as error:
        hint = f"check secrets.stores.{store.name}.ca_file"
        raise Permanent(
            f"the secret store {store.name} cannot be used ({type(error).__name__})", hint=hint, code="secret-settings"
        ) from None
    except (KeyError, TypeError):
        hint = f"check that {store.mount} is a KV mount of version {store.kv_version}"
        raise Permanent(f"the secret store {store.name} answers as no KV mount does", hint=hint, code="secret-settings") from None


def _refused(store: VaultStore, key: str, error: Any) -> OctofleetError:
    from hvac import exceptions  # noqa: PLC0415 - an optional extra

    if isinstance(error, exceptions.InvalidPath):
        hint = f"write it below the mount {store.mount}, or check kv_version (now {store.kv_version})"
        return missing(store.name, key, hint)
    if isinstance(error, exceptions.Forbidden | exceptions.Unauthorized):
        hint = "renew the token, or let its policy read this path"
        return Permanent(f"the token of the secret store {store.name} may not read {key!r}", hint=hint, code="secret-forbidden")
    retryable = (exceptions.VaultDown, exceptions.RateLimitExceeded, exceptions.InternalServerError, exceptions.BadGateway)
    if isinstance(error, (*retryable, exceptions.VaultNotInitialized)):
        what = "is sealed or down" if isinstance(error, exceptions.VaultDown) else f"is in trouble ({type(error).__name__})"
        hint = f"look at `vault status` for {store.url}"
        return RetryLater(f"the secret store {store.name} {what}", after_s=30, hint=hint, code="secret-unreachable")
    message = f"the secret store {store.name} refused to read {key!r} ({type(error).__name__})"
    return Permanent(message, hint="check url, mount and kv_version", code="secret-settings")


def _token(store: VaultStore) -> str:
    """Read for each use, so that an agent may renew the file."""
    setting = f"secrets.stores.{store.name}"
    try:
        text = store.token_file.read_text() if store.token_file else os.environ.get(store.token_env, "")
    except (OSError, UnicodeDecodeError) as error:
        message = f"the token file of the secret store {store.name} cannot be read ({type(error).__name__})"
        raise Permanent(message, hint=f"check {setting}.token_file", code="secret-settings") from None
    if not text.strip():
        raise Permanent(
            f"the secret store {store.name} has no token", hint=f"set {setting}.token_file or .token_env", code="secret-settings"
        )
    return text.strip()
