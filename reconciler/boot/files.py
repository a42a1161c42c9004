"""An armed host's files, rendered when its machine asks: from what is recorded, so that nothing is handed out that was not applied.

The addresses in them lead to this server and hold the installation's token. The same request gives the same bytes. What holds a secret is neither kept nor
handed out without TLS, unless the settings say so.
"""

from collections import OrderedDict
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from reconciler.arming import token_of
from reconciler.drivers.boot import render_spec
from reconciler.errors import OctofleetError, Refused
from reconciler.source.repository import Repository
from reconciler.store.records import load_records, load_specs, locations
from reconciler.types.installation import Installation
from reconciler.types.resource import address, parts
from reconciler.types.values import Secret, Spec, holds_secret
from reconciler.wiring import Installation as Wiring
from renderers.contract import RenderError
from renderers.registry import RENDERERS

KEPT_BYTES = 64 * 1024 * 1024
BY_NAME = {renderer.filename: name for name, renderer in RENDERERS.items()}
Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bases:
    """Where machines reach this server, without a slash at the end: over HTTP, and what installers use; `ca` of them trusts our CA only if it is given it."""

    plain: str
    installers: str
    ca: bool = False


@dataclass(kw_only=True)
class Files:
    """Renders in the thread that asks; `wiring` is its own for each thread (`apart`)."""

    wiring: Wiring
    bases: Bases
    _kept: "OrderedDict[Key, bytes]" = field(default_factory=OrderedDict)
    _size: int = 0
    _lock: Lock = field(default_factory=Lock)
    _turn: Lock = field(default_factory=Lock)

    def kept(self, of: Installation, kind: str) -> bytes | None:
        """A file that was rendered before and holds no secret."""
        return self._kept.get((of.id, kind, self.bases.installers))

    def render(self, of: Installation, kind: str, *, secure: bool) -> bytes:
        """A file of an armed host. Raises `Refused` for a secret without TLS, `OctofleetError` if it cannot be made."""
        found = self.kept(of, kind)
        if found is not None:
            return found
        where = address("boot", kind, of.tenant, of.host)
        with self.wiring.store.read() as connection:
            record = load_records(connection, [where]).get(where)
            spec = load_specs(connection, [record.digest]).get(record.digest) if record else None
            place = locations(connection).get(record.source, "") if record else ""
        if spec is None:
            raise Refused(f"{where} is not on record", hint="apply the commit that wants it", code="no-file")
        secret = holds_secret(spec)
        if secret and not (secure or self.wiring.settings.boot.secrets_over_http):
            text = f"{where} holds a secret, and this is not HTTPS"
            raise Refused(text, hint="set boot.tls_listen, or boot.secrets_over_http", code="secret-needs-tls")
        data = self._rendered(of, kind, self._revealed(spec, of.tenant) if secret else spec, place)
        if not secret:
            self._keep((of.id, kind, self.bases.installers), data)
        return data

    def render_ahead(self, of: Installation) -> None:
        """Keep what a machine that is armed will ask for, as long as there is room; what cannot be made is told to who asks."""
        with suppress(OctofleetError):
            with self.wiring.store.read() as connection:
                found = load_records(connection, [address("boot", kind, of.tenant, of.host) for kind in RENDERERS])
            for where in found if self._size < KEPT_BYTES // 2 else ():
                with suppress(OctofleetError):
                    self.render(of, parts(where)[1], secure=False)

    def forget(self, of: Installation) -> None:
        """It has ended, or what is on record of its host has changed: its files are made anew, if at all."""
        with self._lock:
            for kind in RENDERERS:
                self._size -= len(self._kept.pop((of.id, kind, self.bases.installers), b""))

    def _rendered(self, of: Installation, kind: str, spec: Spec, place: str) -> bytes:
        below = f"i/{token_of(self.wiring.key, of.id)}"
        base = f"{self.bases.installers}/{below}"
        values = dict(spec["values"])
        values["boot"] = {**values.get("boot", {}), "url": base, "loaderUrl": f"{self.bases.plain}/{below}"}
        values["boot"] |= {"caUrl": f"{self.bases.plain}/boot"} if self.bases.ca else {}
        values["install"] = {**values.get("install", {}), "callback": f"{base}/callback"}
        repository: list[Repository] = []

        def content(blob: str) -> bytes:
            repository[:] = repository or [self.wiring.repository(place, fetch=False)]
            return repository[0].blob(blob)

        try:
            # one at a time: two would only take the interpreter from each other; a user's template is rendered in another process
            with nullcontext() if "template" in spec else self._turn:
                return render_spec(kind, {**spec, "values": values}, content, self.wiring.sandbox.render)
        except RenderError as error:
            raise OctofleetError(f"cannot render {kind} of {of.tenant}/{of.host}: {error}", code="render") from error

    def _revealed(self, value: Any, tenant: str) -> Any:
        if isinstance(value, Secret):
            return self.wiring.secrets.value(value.ref, tenant).reveal()
        if isinstance(value, Mapping):
            return {key: self._revealed(item, tenant) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._revealed(item, tenant) for item in value]
        return value

    def _keep(self, key: Key, data: bytes) -> None:
        with self._lock:
            self._size += len(data) - len(self._kept.get(key, b""))
            self._kept[key] = data
            while self._size > KEPT_BYTES:
                _, dropped = self._kept.popitem(last=False)
                self._size -= len(dropped)
