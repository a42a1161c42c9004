"""The inventory of a server: over the API, by `octofleet --server`, and by the plugin. Nobody gets a name of what he does not see."""

import http.server
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import msgspec
import pytest

from reconciler.identity.access import Action
from tests.fleets import host, octofleet
from tests.gate.site import Site
from tests.inventory.world import Ansible
from tests.server.certificates import write_pair
from tests.server.site import Web, token, web
from tests.server.tenants import CALLERS, two_tenants

ROOT, BLIND, BANK = (token(f"github:{name}", Action.VIEW) for name in ("root", "nobody-here", "ben"))
TOKENS = (ROOT, BLIND, BANK)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    path = tmp_path_factory.mktemp("inventory")
    made = two_tenants(path, f"sqlite:///{path / 'q.db'}")
    made.repo.commit({"clash.yaml": host("vault-01", 50)})
    made.settle()
    made.repo.commit({"later.yaml": host("web-09", 9)})
    return made


@pytest.fixture(scope="module")
def served(site: Site) -> Iterator[Web]:
    with web(site.installation, *CALLERS, *TOKENS) as found:
        yield found


def hosts(served: Web, by: str, query: str = "") -> set[str]:
    answer = served.api(f"/inventory{query}", by)
    assert answer.status == 200, answer.text
    return set(answer.json["_meta"]["hostvars"])


def test_who_sees_all_gets_all_at_the_commit_applied_last(served: Web) -> None:
    assert hosts(served, "github:root") == {"web-01", "web-02", "web-03", "shop.vault-01", "bank.vault-01", "vault-02"}
    assert hosts(served, "github:root", "?scope=host/bank/*") == {"bank.vault-01", "vault-02"}
    assert hosts(served, "github:root", "?host=bank.vault-01") == {"bank.vault-01"}
    assert "web-09" in hosts(served, "github:root", "?rev=main&source=test")


def test_of_another_tenant_there_is_nothing(served: Web) -> None:
    """Not even by what one's own hosts are called."""
    assert hosts(served, "token:shop") == {"web-01", "web-02", "web-03", "vault-01"}
    assert hosts(served, "github:ben") == {"vault-01", "vault-02"}
    answer = served.api("/inventory", "token:shop")
    assert "bank" not in answer.text and "vault-02" not in answer.text and "tenant_bank" not in answer.json
    assert served.api("/inventory?host=vault-02", "token:shop").status == 404
    assert hosts(served, "github:nobody-here") == set()
    assert served.api("/inventory?source=test", "github:nobody-here").status == 404
    assert served.api("/inventory", "").status == 401


def test_one_that_may_see_one_host_gets_that(site: Site) -> None:
    narrow = token("github:narrow", Action.VIEW)
    with web(site.installation, narrow) as found:
        assert hosts(found, "github:narrow") == {"vault-01"}


def test_what_is_known_is_not_sent_again(served: Web) -> None:
    tag = served.api("/inventory", "token:shop").headers["ETag"]
    assert served.api("/inventory", "token:shop", If_None_Match=tag).status == 304
    assert served.api("/inventory", "github:ben", If_None_Match=tag).status == 200


@pytest.mark.parametrize(
    ("query", "status"), [("?scope=web", 400), ("?rev=none&source=test", 404), ("?rev=--upload-pack", 400), ("?what=1", 400)]
)
def test_what_cannot_be_asked(query: str, status: int, served: Web) -> None:
    answer = served.api(f"/inventory{query}", "token:shop")
    assert answer.status == status and answer.json["code"], answer.text


def test_a_host_that_is_unknown_is_told_without_a_word_of_others(site: Site) -> None:
    commit = site.repo.commit({"host-3.yaml": host("web-03", 3).replace("network: lan", "network: banklan")})
    with web(site.installation, *TOKENS, *CALLERS) as found:
        path, callers = f"/inventory?source=test&rev={commit}", ("token:shop", "github:root", "github:ben")
        said = {by: found.api(path, by).json["_meta"]["octofleet"]["unknown"] for by in callers}
    site.repo.commit({"host-3.yaml": host("web-03", 3)})
    assert set(said["token:shop"]) == set(said["github:root"]) == {"web-03"} and said["github:ben"] == {}
    assert "banklan" in said["github:root"]["web-03"] and "banklan" not in said["token:shop"]["web-03"]


def test_the_command_asks_a_server(served: Web, tmp_path: Path) -> None:
    def ask(*args: str, by: str = "token:shop") -> dict[str, object]:
        found = octofleet(tmp_path / "none", "--server", f"http://127.0.0.1:{served.port}", "inventory", *args, env={"OCTOFLEET_TOKEN": by})
        document: dict[str, object] = found.json
        return document

    assert ask() == served.api("/inventory", "token:shop").json == ask("--list", "--json")
    assert ask("--host", "vault-01", by="github:ben")["octofleet"]["tenant"] == "bank"  # type: ignore[index]
    assert ask("--host", "vault-02", "--json")["error"]["code"] == "no-host"  # type: ignore[index]


def test_the_plugin_asks_a_server(served: Web, ansible: Ansible, tmp_path: Path) -> None:
    source = ansible.configure(f"server: http://127.0.0.1:{served.port}\n", "server")
    assert set(ansible.listed(source, OCTOFLEET_TOKEN="token:shop")["_meta"]["hostvars"]) == {"web-01", "web-02", "web-03", "vault-01"}
    (tmp_path / "token").write_text("github:ben\n")
    assert set(ansible.listed(source, OCTOFLEET_TOKEN_FILE=str(tmp_path / "token"))["tenant_bank"]["hosts"]) == {"vault-01", "vault-02"}
    ansible.configure(f"server: http://127.0.0.1:{served.port}\nscope: host/shop/web-0?\ntoken_env: MINE\n", "server")
    assert "vault-01" not in ansible.listed(source, MINE="token:shop")["_meta"]["hostvars"]


def test_what_goes_wrong_with_a_server(served: Web, ansible: Ansible, tmp_path: Path) -> None:
    url = f"server: http://127.0.0.1:{served.port}\n"
    source = ansible.configure(url, "wrong")
    assert "there is no token: set OCTOFLEET_TOKEN or token_file" in ansible.refused(source)
    assert "cannot read token_file" in ansible.refused(source, OCTOFLEET_TOKEN_FILE=str(tmp_path / "none"))
    nobody = ansible.refused(source, OCTOFLEET_TOKEN="not-a-token")
    assert "answers 401: nobody has signed in, or the token is none" in nobody and "not-a-token" not in nobody
    for more, said in (
        ("server: http://octofleet.example.com\n", "octofleet.example.com is not asked without encryption"),
        ("server: https://me:secret@octofleet.example.com\n", "server is no URL such as"),
        ("server: http://127.0.0.1:1\n", "does not answer"),
        (f"{url}repo: here\n", "repo is of no use with server"),
        (f"{url}scope: web-01\n", "answers 400: web-01 is no scope"),
        (f"{url}source: other\n", "answers 404: there is no Fleet other"),
    ):
        assert said in ansible.refused(ansible.configure(more, "wrong"), OCTOFLEET_TOKEN="token:shop"), more


class _Sends(http.server.BaseHTTPRequestHandler):
    """Sends everybody elsewhere, or answers an inventory of one host."""

    came: ClassVar[list[str]] = []
    elsewhere: ClassVar[str] = ""

    def do_GET(self) -> None:
        self.came.append(self.headers.get("Authorization", ""))
        self.send_response(302 if self.elsewhere else 200)
        if self.elsewhere:
            self.send_header("Location", self.elsewhere)
        self.end_headers()
        self.wfile.write(msgspec.json.encode({"_meta": {"hostvars": {"one": {}}}, "all": {}, "some": {"hosts": ["one"]}}))

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def sending(elsewhere: str = "", certificate: Path | None = None, key: Path | None = None) -> Iterator[int]:
    handler = type("Sends", (_Sends,), {"came": [], "elsewhere": elsewhere})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate, key)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def test_a_token_goes_nowhere_else(ansible: Ansible) -> None:
    with web_of_nobody() as (there, came), sending(f"http://127.0.0.1:{there}/api/v1/inventory") as port:
        said = ansible.refused(ansible.configure(f"server: http://127.0.0.1:{port}\n", "redirect"), OCTOFLEET_TOKEN="precious")
    assert "answers 302" in said and not came and "precious" not in said


@contextmanager
def web_of_nobody() -> Iterator[tuple[int, list[str]]]:
    """Where nobody is to come, and who came."""
    handler = type("Nobody", (_Sends,), {"came": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1], handler.came
        server.shutdown()


def test_a_server_with_an_authority_of_its_own(ansible: Ansible, tmp_path: Path) -> None:
    certificate, key = write_pair(tmp_path)
    with sending(certificate=certificate, key=key) as port:
        url = f"server: https://localhost:{port}\n"
        assert "does not answer" in ansible.refused(ansible.configure(url, "tls"), OCTOFLEET_TOKEN="t")
        found = ansible.listed(ansible.configure(f"{url}ca_file: {certificate}\n", "tls"), OCTOFLEET_TOKEN="t")
    assert found["some"]["hosts"] == ["one"]
