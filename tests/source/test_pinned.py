"""Other repositories at a commit: fetched from where the settings allow and from nowhere else, and not at all when the commit is here."""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from reconciler.errors import OctofleetError, Permanent, Refused, RetryLater
from reconciler.source.pinned import Pinned
from tests.source.conftest import commit
from tests.source.servers import git, http_server


def pinned(tmp_path, *allowed):
    return Pinned(mirrors=tmp_path / "mirrors", allowed=allowed)


def served(root, repo):
    root.mkdir()
    git(root, "clone", "-q", "--bare", str(repo), "web.git")
    return root


def url_of(server):
    return f"http://127.0.0.1:{server.server_address[1]}"


def code(call):
    with pytest.raises(OctofleetError) as raised:
        call()
    return raised.value.code


def test_a_commit_is_fetched_once_and_exported(tmp_path, repo):
    first = commit(repo)
    root = served(tmp_path / "served", repo)
    with http_server(root) as server:
        url = f"{url_of(server)}/web.git"
        other = pinned(tmp_path, url_of(server))
        other.export(url, first, "hosts", tmp_path / "one")
        assert (tmp_path / "one" / "b.yml").read_text() == "b: 1\n"
        asked = len(server.requests)
        pinned(tmp_path, url_of(server)).export(url, first, "", tmp_path / "two")
        assert len(server.requests) == asked > 0
    pinned(tmp_path, url_of(server)).export(url, first, "hosts", tmp_path / "three")  # the server is away, the commit is here
    assert code(lambda: pinned(tmp_path, url_of(server)).repository(url, "0" * 40)) == "repository-unreachable"


def test_what_is_not_there_is_told(tmp_path, repo):
    first = commit(repo)
    root = served(tmp_path / "served", repo)
    with http_server(root) as server:
        other = pinned(tmp_path, url_of(server))
        assert code(lambda: other.repository(f"{url_of(server)}/web.git", "0" * 40)) == "repository-commit-missing"
        assert code(lambda: other.repository(f"{url_of(server)}/none.git", first)) == "repository-missing"
        assert code(lambda: other.export(f"{url_of(server)}/web.git", first, "nowhere", tmp_path / "x")) == "no-such-directory"
        assert code(lambda: other.repository(f"{url_of(server)}/web.git", "main")) == "repository-commit"


class _Elsewhere(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        self.send_response(302)
        self.send_header("Location", self.server.to + self.path)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments):
        pass


def test_a_redirect_is_not_followed(tmp_path, repo):
    first = commit(repo)
    root = served(tmp_path / "served", repo)
    with http_server(root) as inner, ThreadingHTTPServer(("127.0.0.1", 0), _Elsewhere) as outer:
        outer.asked, outer.to = [], url_of(inner)
        Thread(target=outer.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{outer.server_address[1]}"
        try:
            with pytest.raises((Permanent, RetryLater)):
                pinned(tmp_path, url).repository(f"{url}/web.git", first)
        finally:
            outer.shutdown()
        assert outer.asked
        assert inner.requests == []


def test_submodules_are_left_out(tmp_path, repo):
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    git(hidden, "init", "-q", "-b", "main")
    (hidden / "secret").write_text("s")
    commit(hidden)
    git(repo, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(hidden), "hosts/inner")
    first = commit(repo)
    root = served(tmp_path / "served", repo)
    with http_server(root) as server:
        pinned(tmp_path, url_of(server)).export(f"{url_of(server)}/web.git", first, "", tmp_path / "out")
    assert (tmp_path / "out" / "hosts" / "b.yml").exists()
    assert not (tmp_path / "out" / "hosts" / "inner").exists()


ALLOWED = ("https://git.example.net/ansible", "git@git.example.net:ops/", "ssh://git@git.example.net/ops", "https://other.example.net")


@pytest.mark.parametrize(
    "url",
    [
        "https://git.example.net/ansible/web.git",
        "https://git.example.net/ansible.git",
        "git@git.example.net:ops/web.git",
        "ssh://git@git.example.net/ops/web.git",
        "https://other.example.net/x",
    ],
)
def test_what_begins_as_allowed_is_allowed(tmp_path, url):
    pinned(tmp_path, *ALLOWED).check(url)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("https://git.example.net/ansible-evil/web.git", "repository-not-allowed"),
        ("https://git.example.net/other/web.git", "repository-not-allowed"),
        ("https://other.example.net.evil.example/x", "repository-not-allowed"),
        ("https://other.example.net.git", "repository-not-allowed"),
        ("https://other.example.net@evil.example/x", "repository-url"),
        ("https://other.example.net:8443/x", "repository-not-allowed"),
        ("https://git.example.net/ansible/../secret.git", "repository-url"),
        ("https://git.example.net/ansible/%2e%2e/secret.git", "repository-url"),
        ("https://git.example.net/ansible/web.git?token=x", "repository-url"),
        ("https://user:word@git.example.net/ansible/web.git", "repository-url"),
        ("http://git.example.net/ansible/web.git", "repository-not-allowed"),
        ("git@git.example.net:other/web.git", "repository-not-allowed"),
        ("git@git.example.net:ops/../web.git", "repository-url"),
        ("ssh://-oProxyCommand=touch/x", "repository-url"),
        ("ssh://git@-oProxyCommand=touch/x", "repository-url"),
        ("-oProxyCommand=touch:x", "repository-url"),
        ("file:///etc", "repository-not-allowed"),
        ("/srv/git/web.git", "repository-url"),
        ("../web.git", "repository-url"),
    ],
)
def test_what_only_seems_allowed_is_refused(tmp_path, url, why):
    assert code(lambda: pinned(tmp_path, *ALLOWED).repository(url, "0" * 40)) == why
    assert not (tmp_path / "mirrors").exists()


def test_nothing_is_allowed_without_a_setting(tmp_path):
    with pytest.raises(Refused, match=r"ansible\.repositories"):
        pinned(tmp_path).repository("https://git.example.net/web.git", "0" * 40)


def test_other_schemes_are_refused_by_name(tmp_path):
    assert code(lambda: pinned(tmp_path, "ext::sh").repository("ext::sh -c touch", "0" * 40)) in {"repository-url", "url-scheme"}
