"""What machines are answered, whichever protocol they ask by: the boot decision, an armed host's files, and what its installer says.

In the event loop stands what needs memory alone; what asks the database or renders is done in threads, and written down by `Notes`.
"""

import asyncio
import re
import time
from base64 import b64decode
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import msgspec

from reconciler.arming import token_digest
from reconciler.boot.asked import Asked
from reconciler.boot.decision import Boot, Decision, decide, may_have
from reconciler.boot.files import BY_NAME, Bases, Files
from reconciler.boot.notes import Notes
from reconciler.boot.picture import Picture
from reconciler.errors import OctofleetError, Refused, RetryLater
from reconciler.events import happened
from reconciler.store import installs
from reconciler.store.engine import Connection
from reconciler.types.installation import AFTER, Installation, Stage, State
from reconciler.wiring import Installation as Wiring

T = TypeVar("T")
THREADS = 2
FACTS_MOST = 16_384
KEYS_MOST = 32
OLD_S = 10.0
"""For how long an armed host's script is handed out by what is known while the database does not answer."""
TOKEN = re.compile(r"[0-9a-f]{64}")
KEY = re.compile(r"((?:ssh|ecdsa|sk)-[a-z0-9@.-]{1,60}) (AAAA[A-Za-z0-9+/]{16,1400}={0,2})(?: .*)?")
"""A line of a public key: kind, base64, and a comment, which is not kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What an installer posts."""

    stage: Stage
    log: str = ""
    facts: bytes = b""
    keys: str = ""


class BootServer:
    """`wiring`: an installation of its own; `bases`: where machines reach it."""

    def __init__(self, wiring: Wiring, bases: Bases) -> None:
        self.wiring, self.bases = wiring, bases
        self.unknown = Boot(wiring.settings.boot.unknown)
        self.picture = Picture(wiring.store)
        self.notes = Notes(wiring.store, self._refresh)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="boot-files")
        self._files = Files(wiring=wiring, bases=bases)
        self._ahead = ThreadPoolExecutor(1, thread_name_prefix="boot-ahead")

    def start(self) -> None:
        """Read what there is, and begin to write."""
        self._refresh()
        self.notes.start()

    def _refresh(self) -> None:
        for item in self.picture.refresh():
            self.notes.later(partial(installs.end, of=item.id, state=State.CANCELLED, now=time.time()))
        touched, self.picture.touched = self.picture.touched, set()
        for place in touched & self.picture.installations.keys():
            self._files.forget(self.picture.installations[place])
        news, self.picture.news = self.picture.news, []
        for item in news:
            if item.open:
                self._ahead.submit(self._files.render_ahead, item)
            else:
                self._files.forget(item)

    def close(self) -> None:
        """End."""
        self.notes.close()
        self._threads.shutdown()
        self._ahead.shutdown(cancel_futures=True)

    async def decision(self, asked: Asked, address: str) -> Decision:
        """What a machine is to boot. Who is given its installer's script has claimed it when this returns. Raises `OctofleetError`: nothing can be told now."""
        found = self._decided(asked, address)
        if found.installation is not None and self.picture.old_s > OLD_S:
            raise RetryLater("the database does not answer, and whether the host is still armed is not known", code="old")
        if found.installation is not None and found.installation.claimed_by != address:
            claimed = await self.written(partial(installs.claim, of=found.installation.id, address=address, now=time.time()))
            if claimed:
                happened("installation-claimed", tenant=found.installation.tenant, host=found.installation.host, address=address)
            found = self._decided(asked, address)
        why = {"decision": found.boot.value, "why": found.why, "address": address, "machine": asked.described}
        happened("boot-decision", **why)
        if found.machine is not None:
            self.notes.seen((*found.machine.place, time.time(), address, asked.firmware, found.boot.value, found.why))
        return found

    def _decided(self, asked: Asked, address: str) -> Decision:
        picture = self.picture
        return decide(asked, address, picture.machines, picture.installations, self.unknown, time.time(), picture.rivals)

    async def script(self, of: Installation, kind: str, *, secure: bool) -> bytes:
        """What starts an armed host's installer. Raises `OctofleetError`."""
        return self._files.kept(of, kind) or await self._rendered(of, kind, secure=secure)

    async def answer(self, token: str, tenant: str, host: str, filename: str, address: str, *, secure: bool) -> bytes:
        """A file of an armed host, for the one who was given its script. Raises `Refused`: nobody is told which of these was wrong.

        The database is asked first: an installation that ended in another process has ended here."""
        if not TOKEN.fullmatch(token):
            raise Refused("there is no such file", code="no-file")
        await self.notes.fresh()
        of = self._of_token(token, address)
        kind = BY_NAME.get(filename)
        if of is None or kind is None or (of.tenant, of.host) != (tenant, host):
            raise Refused("there is no such file", code="no-file")
        data = await self.script(of, kind, secure=secure)
        if of.released_at is None and not await self.written(partial(installs.released, of=of.id, address=address, now=time.time())):
            raise Refused("there is no such file", code="no-file")
        return data

    def _of_token(self, token: str, address: str) -> Installation | None:
        of = self.picture.by_token.get(token_digest(token))
        machine = self.picture.hosts.get((of.tenant, of.host)) if of else None
        if of is None or machine is None or of.expires_at <= time.time() or not may_have(of, machine, address):
            return None
        return of

    async def heard(self, token: str, said: Said, address: str) -> State:
        """What an installer says; the state that it came to. What is said twice is no news. Raises `Refused`."""
        digest = token_digest(token)

        def note(connection: Connection) -> tuple[Installation, State | None] | None:
            of = installs.by_token(connection, digest, lock=True)
            if of is None or not may_have(of, self.picture.hosts.get((of.tenant, of.host)), address):
                return None
            now = connection.now()
            if of.expires_at <= now:
                return of, None
            if of.state is State.INSTALLED and said.stage is Stage.INSTALLED:
                installs.complete(connection, of, said.facts, said.keys)
            return of, installs.report(connection, of, said.stage, now, log=said.log, facts=said.facts, keys=said.keys)

        found = await self.written(note) if TOKEN.fullmatch(token) else None
        if found is None:
            raise Refused("there is no such installation", code="no-installation")
        of, state = found
        if state is None and AFTER[said.stage] is not of.state:
            raise Refused(f"the installation has ended: {'expired' if of.open else of.label}", code="ended")
        if state is not None:
            happened(
                "installation-stage", tenant=of.tenant, host=of.host, generation=of.generation, stage=said.stage.value, state=state.value
            )
        return state or of.state

    async def _rendered(self, of: Installation, kind: str, *, secure: bool) -> bytes:
        return await asyncio.get_running_loop().run_in_executor(self._threads, partial(self._render, of, kind, secure=secure))

    def _render(self, of: Installation, kind: str, *, secure: bool) -> bytes:
        return self._files.render(of, kind, secure=secure)

    async def written(self, note: Callable[[Connection], T]) -> T:
        """What a note gives once it is durable."""
        return await self.notes.write(note)


def heard_of(form: Mapping[str, str]) -> Said:
    """From the fields of a callback. Raises `OctofleetError`; of what is too long the end is kept, and facts that are no JSON object are left out."""
    try:
        stage = Stage(form.get("stage", ""))
    except ValueError as error:
        text = f"there is no stage {form.get('stage', '')[:20]!r}"
        raise OctofleetError(text, hint=f"say one of {', '.join(Stage)}", code="stage") from error
    keys = [line.strip() for line in form.get("hostkeys", "").split("\n") if line.strip()]
    return Said(
        stage=stage,
        log=_printable(form.get("log", "")),
        facts=_facts(form.get("facts", "")),
        keys="\n".join(dict.fromkeys(filter(None, map(_key, keys[:KEYS_MOST])))),
    )


def _facts(text: str) -> bytes:
    try:
        found = msgspec.json.decode(text[:FACTS_MOST]) if text else None
    except (msgspec.DecodeError, RecursionError):
        return b""
    return msgspec.json.encode(found) if isinstance(found, dict) else b""


def _printable(text: str) -> str:
    return "".join(char for char in text[-installs.LOG_MOST :] if char in "\n\t" or char.isprintable())


def _key(line: str) -> str:
    """Kind and key, if the key is of that kind (RFC 4253, section 6.6); else empty."""
    found = KEY.fullmatch(line)
    if found is None or len(found[2]) % 4:
        return ""
    name = found[1].encode()
    return f"{found[1]} {found[2]}" if b64decode(found[2]).startswith(len(name).to_bytes(4, "big") + name) else ""
