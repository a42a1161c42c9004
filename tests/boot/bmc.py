"""A BMC on loopback: OpenStack's Redfish emulator (sushy-tools) with its machines that are none, over TLS and with Basic authentication.

The emulator knows no override for one start, no ETag, no time of the last reset and no session; `Board` before it does what DSP0266 and DSP0268 say of
these where a test asks for it, breaks what a test breaks, and counts.
"""

import importlib
import io
import json
import logging
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from reconciler.power.bmc import Bmc
from reconciler.types.values import SecretValue
from tests.conftest import missing
from tests.server.certificates import write_pair

USER, PASSWORD = "octofleet", 'swordfish"4711'
ONE, TWO = "27946b59-9e44-4fa7-8e91-f3527a1ef094", "c0ffee00-9e44-4fa7-8e91-f3527a1ef095"
Fault = Callable[["Board", Any], Any]
"""A request to the answer that stands in for the emulator's, or None."""


@dataclass
class Board:
    """`done`: changes that were asked for and not refused by the board, as short texts; `asked`: how many requests came."""

    app: Any
    standard: bool = False
    tells_resets: bool = True
    fault: Fault = lambda board, request: None
    edit: Callable[[dict[str, Any]], None] = lambda system: None
    done: list[str] = field(default_factory=list)
    asked: int = 0
    version: int = 1
    once: bool = False
    last_reset: datetime | None = None

    def __call__(self, environ: Any, start: Any) -> Any:
        from werkzeug.wrappers import Request

        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        request = Request({**environ, "wsgi.input": io.BytesIO(body)})
        request.get_data()
        self.asked += 1
        answer = self.fault(self, request) or self._standard(request) or self.emulated(request)
        return answer(environ, start)

    def _standard(self, request: Any) -> Any:
        if self.standard and request.method == "PATCH" and request.headers.get("If-Match") != f'W/"{self.version}"':
            return reply(412, {})
        return None

    def emulated(self, request: Any, **over: str) -> Any:
        """The emulator's answer as the board gives it on; `over`: what the emulator is to find in the request instead."""
        from werkzeug.wrappers import Response

        answer = Response.from_app(self.app, {**request.environ, "wsgi.input": io.BytesIO(request.get_data()), **over})
        if request.method in ("PATCH", "POST") and answer.status_code < 300:
            said = request.json.get("Boot") or request.json
            self.done.append(" ".join(str(value) for value in said.values()))
            if self.standard and request.method == "PATCH":
                self.once, self.version = True, self.version + 1
            if self.standard and said.get("ResetType") == "On":
                self.last_reset = datetime.now(UTC)
        if request.method == "GET" and answer.status_code == 200 and "/Systems/" in request.path:
            return self._system(answer)
        return answer

    def _system(self, answer: Any) -> Any:
        system = json.loads(answer.get_data())
        if self.standard:
            system["Boot"]["BootSourceOverrideEnabled"] = "Once" if self.once else "Disabled"
            if self.last_reset and self.tells_resets:
                system["LastResetTime"] = self.last_reset.isoformat(timespec="seconds")
        self.edit(system)
        return reply(200, system, {"ETag": f'W/"{self.version}"'} if self.standard else {})


def reply(status: int, body: Any, headers: dict[str, str] | None = None) -> Any:
    from werkzeug.wrappers import Response

    return Response(json.dumps(body), status=status, headers=headers, content_type="application/json")


@dataclass(frozen=True)
class Place:
    """Where the board is, and how to speak to it."""

    url: str
    certificate: Path
    board: Board

    def bmc(self, **over: Any) -> Bmc:
        given = {"username": USER, "password": SecretValue(PASSWORD), "system": ONE, "ca_file": self.certificate}
        return Bmc(**{"url": self.url, **given, **over})

    @property
    def fingerprint(self) -> str:
        return sha256(ssl.PEM_cert_to_DER_cert(self.certificate.read_text())).hexdigest()


@contextmanager
def emulator(directory: Path, patch: pytest.MonkeyPatch, **first: Any) -> Iterator[Place]:
    """Two machines, off. `first`: what the emulator's first one has besides."""
    try:
        import bcrypt
        from sushy_tools.emulator import main
        from sushy_tools.emulator.resources.systems import fakedriver
        from werkzeug.serving import make_server
    except ImportError:
        missing("sushy-tools", "pip install sushy-tools")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    users = directory / "users"
    users.write_text(f"{USER}:{bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()}\n")
    nics = [{"mac": "52:54:00:10:01:01", "ip": "192.0.2.1"}]
    app = importlib.reload(main).app
    app.configure(
        extra_config={
            "SUSHY_EMULATOR_FAKE_DRIVER": True,
            "SUSHY_EMULATOR_STATE_DIR": str(directory),
            "SUSHY_EMULATOR_AUTH_FILE": str(users),
            "SUSHY_EMULATOR_FAKE_SYSTEMS": [
                {"uuid": ONE, "name": "one", "power_state": "Off", "external_notifier": False, "nics": nics, **first},
                {"uuid": TWO, "name": "two", "power_state": "Off", "external_notifier": False, "nics": nics},
            ],
        }
    )
    patch.setattr(fakedriver.random, "randint", lambda low, high: 0)  # its machines need no seconds to start
    certificate, key = write_pair(directory)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    board = Board(app)
    server = make_server("127.0.0.1", 0, board, threaded=True, ssl_context=context)
    thread = Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield Place(url=f"https://127.0.0.1:{server.server_port}", certificate=certificate, board=board)
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()
