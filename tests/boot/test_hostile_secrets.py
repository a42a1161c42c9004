"""Secrets in answer files: not over plain HTTP, not on disk, not in memory, not in any database, event or log."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.arming import token_of
from reconciler.boot.files import Bases, Files
from reconciler.errors import Refused
from reconciler.events import listeners
from tests.boot.hostile import HOST
from tests.boot.site import Site, ask, bootable, script

HASH = "$6$rounds=5000$c2VjcmV0c2FsdA$" + "Zm9yIHRoaXMgdGVzdCBhbG9uZSwgbm9ib2R5IGhhcyBzdWNoIGEgcGFzc3dvcmQgYXQgYWxs"
ROOT = "  root: {hashed_passwd: {secretRef: {store: s, key: root}}}\n"


def settings(path: Path) -> str:
    (path / "secrets").mkdir(mode=0o700)
    (path / "secrets" / "root").write_text(HASH)
    (path / "secrets" / "root").chmod(0o600)
    store = f'[secrets.stores.s]\ntype = "directory"\npath = "{path / "secrets"}"\ntenants = ["shop"]\n'
    return f'directory = "{path / "published"}"\n{store}'


@pytest.fixture
def told() -> Iterator[list[str]]:
    found: list[str] = []

    def hear(name: str, fields: object) -> None:
        found.append(f"{name} {fields}")

    listeners.append(hear)
    yield found
    listeners.remove(hear)


def test_a_secret_shows_nowhere_but_to_the_armed_host_over_https(
    tmp_path: Path, told: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    site = Site(tmp_path, settings=settings(tmp_path))
    try:
        with site.serving():
            site.begun()
            published = tmp_path / "published" / "shop" / "web-01" / "preseed.cfg"
            assert published.exists(), "without a secret it is published"
            head = site.repo.commit({"host-1.yaml": bootable(generation=0, spec=ROOT)})
            site.until(lambda: site.commit() == head)
            assert not published.exists(), "with one it is not any more"
            site.wiring.arming.arm("test.1", HOST, 1)
            site.until(lambda: "installing" in script(site))
            url = site.answers(script(site))
            found = ask(url)
            assert (found.status, HASH in found.text) == (403, False)
            assert site.installations()[0].released_at is None, "nothing was handed out"
            assert "HTTPS" in found.text
            files = Files(wiring=site.wiring, bases=Bases(plain="http://b.example.net", installers="https://b.example.net"))
            with pytest.raises(Refused):
                files.render(site.installations()[0], "preseed", secure=False)
            data = files.render(site.installations()[0], "preseed", secure=True)
            assert HASH.encode() in data
            assert files.kept(site.installations()[0], "preseed") is None
            assert not any(HASH.encode() in kept for kept in files._kept.values())
            with pytest.raises(Refused):
                files.render(site.installations()[0], "preseed", secure=False)
            token = token_of(site.wiring.key, site.installations()[0].id)
        out = capfd.readouterr()
        for text in (*told, out.out, out.err):
            assert HASH not in text
            assert token not in text
        for path in tmp_path.rglob("*"):
            if path.is_file() and "secrets" not in path.parts:
                content = path.read_bytes()
                assert HASH.encode() not in content, path
                assert token.encode() not in content, path
    finally:
        site.close()
