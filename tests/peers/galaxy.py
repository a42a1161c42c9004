"""A Galaxy server on loopback, for `ansible-galaxy collection install`: written from the published API of galaxy_ng (version 3 of `/api/`, as its OpenAPI
document has it), only what installing asks for. It counts what it is asked, and can be told to give wrong checksums."""

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class GalaxyServer(ThreadingHTTPServer):
    """`artifacts`: tarballs by namespace, name and version. `wrong`: say a checksum that does not fit."""

    artifacts: Mapping[tuple[str, str, str], Path]
    asked: list[str]
    wrong: bool

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/"


class _Handler(BaseHTTPRequestHandler):
    server: GalaxyServer

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.server.asked.append(path)
        names = path.strip("/").split("/")
        if names == ["api"]:
            return self._json({"available_versions": {"v3": "v3/"}, "current_version": "v3"})
        if names[:2] == ["api", "download"]:
            return self._file(names[2])
        if names[:3] != ["api", "v3", "collections"] or len(names) < 5:
            return self._json({"errors": [{"status": "404", "code": "not_found", "title": "Not found."}]}, 404)
        found = {version: file for (ns, name, version), file in self.server.artifacts.items() if [ns, name] == names[3:5]}
        if not found or (len(names) == 7 and names[6] not in found):
            return self._json({"errors": [{"status": "404", "code": "not_found", "title": "Not found."}]}, 404)
        if len(names) == 7:
            return self._json(self._version(names[3], names[4], names[6], found[names[6]]))
        if len(names) == 6:
            rows = [{"version": version, "href": f"{path}{version}/"} for version in sorted(found)]
            return self._json(
                {"meta": {"count": len(rows)}, "links": {"first": "", "previous": None, "next": None, "last": ""}, "data": rows}
            )
        return self._json({"namespace": names[3], "name": names[4], "deprecated": False, "highest_version": {"version": max(found)}})

    def _version(self, namespace: str, name: str, version: str, file: Path) -> dict[str, Any]:
        checksum = hashlib.sha256(file.read_bytes() + (b"x" if self.server.wrong else b"")).hexdigest()
        return {
            "version": version,
            "href": f"/api/v3/collections/{namespace}/{name}/versions/{version}/",
            "namespace": {"name": namespace},
            "collection": {"name": name},
            "artifact": {"filename": file.name, "sha256": checksum, "size": file.stat().st_size},
            "download_url": f"{self.server.url}api/download/{file.name}",
            "metadata": {"dependencies": {}},
            "signatures": [],
        }

    def _file(self, name: str) -> None:
        data = next((file.read_bytes() for file in self.server.artifacts.values() if file.name == name), b"")
        self.send_response(200 if data else 404)
        self.send_header("Content-Type", "application/gzip")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _json(self, document: Any, status: int = 200) -> None:
        data = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *arguments: Any) -> None:
        del format, arguments


@contextmanager
def galaxy_server(artifacts: Mapping[tuple[str, str, str], Path]) -> Iterator[GalaxyServer]:
    """A server that has these artifacts, until the block ends."""
    with GalaxyServer(("127.0.0.1", 0), _Handler) as server:
        server.artifacts, server.asked, server.wrong = artifacts, [], False
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()
