"""Users' templates rendered in a process of their own, with limits on time and memory.

The process reads one JSON request a line (source, name, values) and answers with one. It is started when first needed, kept for the next
template, and killed when a render takes too long. It sees no environment and holds no secret.
"""

import base64
import json
import select
import subprocess
import sys
from collections.abc import Mapping
from threading import Lock
from typing import Any

from renderers.contract import RenderError

MEMORY_BYTES = 512 * 1024 * 1024
TIMEOUT_S = 5.0

_WORKER = """
import base64, json, resource, sys
resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
sys.path[:0] = json.loads(sys.argv[1])
from renderers.contract import RenderError
from renderers.template import render_template
for line in sys.stdin:
    job = json.loads(line)
    try:
        answer = {"data": base64.b64encode(render_template(job["source"], job["name"], job["values"])).decode()}
    except RenderError as error:
        answer = {"pointer": error.pointer, "message": error.message}
    except (MemoryError, RecursionError, OverflowError) as error:
        answer = {"pointer": "", "message": f"{job['name']}: the template needs too much memory ({type(error).__name__})"}
    print(json.dumps(answer), flush=True)
""".replace("MEMORY_BYTES", str(MEMORY_BYTES))


class Sandbox:
    """Renders templates, one at a time. `close` ends the process."""

    def __init__(self, timeout_s: float = TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._process: subprocess.Popen[str] | None = None
        self._lock = Lock()

    def render(self, source: str, name: str, values: Mapping[str, Any]) -> bytes:
        """The bytes of a template. Raises RenderError for the template's mistakes, and when it takes too long or too much."""
        with self._lock:
            answer = self._ask(json.dumps({"source": source, "name": name, "values": values}), name)
        if "data" in answer:
            return base64.b64decode(answer["data"])
        raise RenderError(answer["pointer"], answer["message"])

    def _ask(self, request: str, name: str) -> dict[str, str]:
        process = self._started()
        assert process.stdin is not None and process.stdout is not None  # noqa: S101 - for the type checker: both are pipes
        try:
            process.stdin.write(request + "\n")
            process.stdin.flush()
            ready, _, _ = select.select([process.stdout], [], [], self._timeout_s)
            line = process.stdout.readline() if ready else ""
        except BrokenPipeError:
            line = ""
        if line:
            return dict(json.loads(line))
        code = process.poll()
        self.close()
        why = f"took longer than {self._timeout_s:g} s" if code is None else "needs too much memory"
        return {"pointer": "", "message": f"{name}: the template {why}"}

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None or self._process.poll() is not None:
            command = [sys.executable, "-I", "-c", _WORKER, json.dumps([path for path in sys.path if path])]
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and program
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env={}, close_fds=True
            )
        return self._process

    def close(self) -> None:
        """End the process, if there is one."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None
