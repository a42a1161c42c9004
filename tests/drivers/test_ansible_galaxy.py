"""Requirements installed by the real ansible-galaxy into the cache: once, verified, offline, and never from elsewhere."""

import fcntl
import io
import json
import multiprocessing
import os
import shutil
import tarfile
import threading
import time
from pathlib import Path

import pytest

from reconciler.drivers.ansible import cached, confined
from reconciler.drivers.ansible.galaxy import Galaxy
from reconciler.drivers.ansible.process import Command
from reconciler.drivers.driver import no_other_repository
from reconciler.errors import OctofleetError, Permanent, RetryLater
from tests.drivers.ansible_artifacts import collection, collection_source, need_galaxy, role_archive
from tests.ha.kept import until
from tests.peers.galaxy import galaxy_server

COMMIT = "0123456789abcdef0123456789abcdef01234567"
GREETING = "collections/ansible_collections/example/web/roles/greet/tasks/main.yml"


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    return collection(tmp_path_factory.mktemp("artifact"))


@pytest.fixture
def project(tmp_path):
    need_galaxy()
    (tmp_path / "project").mkdir()
    return tmp_path / "project"


def install(tmp_path, project, *servers, export_from=no_other_repository):
    found = Galaxy(directory=tmp_path / "galaxy", servers=servers).installed(project, "web", export_from, until=time.monotonic() + 300)
    assert found is not None
    return found.directory


def refused(call):
    with pytest.raises(OctofleetError) as raised:
        call()
    return raised.value


def of_galaxy(project):
    (project / "requirements.yml").write_text('collections:\n  - name: example.web\n    version: "1.0.0"\n')


def test_a_server_is_asked_once_and_may_then_be_away(tmp_path, project, artifact):
    of_galaxy(project)
    with galaxy_server({("example", "web", "1.0.0"): artifact}) as server:
        found = install(tmp_path, project, server.url)
        assert (found / GREETING).is_file()
        asked = len(server.asked)
        (project / "requirements.yml").write_text("# the same\ncollections:\n  - example.web:1.0.0\n")
        assert install(tmp_path, project, server.url) == found
        assert len(server.asked) == asked > 0
    assert install(tmp_path, project, server.url) == found
    shutil.rmtree(tmp_path / "galaxy", ignore_errors=True)
    error = refused(lambda: install(tmp_path, project, server.url))
    assert isinstance(error, RetryLater)
    assert error.code == "galaxy-unreachable"


def test_nothing_can_be_written_and_a_change_is_found(tmp_path, project, artifact):
    shutil.copy(artifact, project / "a.tar.gz")
    (project / "requirements.yml").write_text("collections:\n  - a.tar.gz\n")
    found = install(tmp_path, project)
    file = found / GREETING
    whole = file.read_bytes()
    assert all(path.is_symlink() or not path.stat().st_mode & 0o222 for path in found.rglob("*"))
    file.chmod(0o644)
    file.write_bytes(whole + b"# evil\n")
    assert install(tmp_path, project) == found
    assert file.read_bytes() == whole
    file.parent.chmod(0o755)
    (file.parent / "evil.yml").write_text("x")
    install(tmp_path, project)
    assert not (file.parent / "evil.yml").exists()


def test_a_change_that_cannot_be_mended_is_refused(tmp_path, project, artifact):
    of_galaxy(project)
    with galaxy_server({("example", "web", "1.0.0"): artifact}) as server:
        found = install(tmp_path, project, server.url)
    (found / GREETING).chmod(0o644)
    (found / GREETING).write_text("evil")
    assert isinstance(refused(lambda: install(tmp_path, project, server.url)), RetryLater)
    assert not found.exists()


def test_a_wrong_checksum_is_refused(tmp_path, project, artifact):
    of_galaxy(project)
    with galaxy_server({("example", "web", "1.0.0"): artifact}) as server:
        server.wrong = True
        error = refused(lambda: install(tmp_path, project, server.url))
    assert error.code == "galaxy-failed"
    assert "ismatch" in error.message
    assert [path.name for path in (tmp_path / "galaxy").iterdir() if path.suffix != ".lock"] == []


def test_servers_are_those_of_the_settings(tmp_path, project, artifact):
    of_galaxy(project)
    assert refused(lambda: install(tmp_path, project)).code == "galaxy-not-allowed"
    with galaxy_server({("example", "web", "1.0.0"): artifact}) as server:
        (project / "requirements.yml").write_text(f'collections:\n  - name: example.web\n    version: "1.0.0"\n    source: {server.url}\n')
        assert refused(lambda: install(tmp_path, project, "http://127.0.0.1:9/")).code == "galaxy-not-allowed"
        assert server.asked == []
        assert (install(tmp_path, project, "http://127.0.0.1:9/", server.url) / GREETING).is_file()


def test_what_a_collection_needs_must_be_required_too(tmp_path, project):
    first = collection(tmp_path / "a", dependencies='{"example.other": ">=1.0.0"}')
    shutil.copy(first, project / "a.tar.gz")
    (project / "requirements.yml").write_text("collections:\n  - a.tar.gz\n")
    error = refused(lambda: install(tmp_path, project))
    assert error.code == "requirements-refused"
    assert "example.other (>=1.0.0)" in error.message
    shutil.copy(collection(tmp_path / "b", name="example.other"), project / "b.tar.gz")
    (project / "requirements.yml").write_text("collections:\n  - a.tar.gz\n  - b.tar.gz\n")
    assert (install(tmp_path, project) / "collections/ansible_collections/example/other").is_dir()


def test_git_is_never_run_by_ansible_galaxy(tmp_path, project):
    asked = []

    def export_from(url, commit, path, into):
        asked.append((url, commit, path))
        if "role" in url:
            (into / "tasks").mkdir(parents=True)
            (into / "meta").mkdir()
            (into / "tasks/main.yml").write_text("[]\n")
            (into / "meta/main.yml").write_text("galaxy_info:\n  author: x\n")
        else:
            collection_source(into)

    (project / "requirements.yml").write_text(
        f"collections:\n  - name: git+https://git.example.net/c.git#/inner,{COMMIT}\n"
        f"roles:\n  - src: https://git.example.net/role.git\n    scm: git\n    version: {COMMIT}\n    name: mine\n"
    )
    found = install(tmp_path, project, export_from=export_from)
    assert (found / GREETING).is_file()
    assert (found / "roles/mine/tasks/main.yml").is_file()
    assert asked == [("https://git.example.net/c.git", COMMIT, "inner"), ("https://git.example.net/role.git", COMMIT, "")]
    install(tmp_path, project)
    (project / "requirements.yml").write_text(f"roles:\n  - src: https://git.example.net/x.git\n    scm: git\n    version: {COMMIT}\n")
    assert refused(lambda: install(tmp_path, project)).code == "repository-not-allowed"


@pytest.mark.parametrize(
    "more",
    [
        {"role/../../escaped": "x"},
        {"role/files/passwd": "-> /etc/passwd"},
        {"role/files/up": "-> ../../../../../outside"},
        {"/tmp/octofleet-escaped": "x"},
    ],
)
def test_a_hostile_archive_writes_nothing_outside(tmp_path, project, more):
    role_archive(project / "r.tar.gz", more=more)
    (project / "requirements.yml").write_text("roles:\n  - src: r.tar.gz\n    name: mine\n")
    before = {path for path in tmp_path.rglob("*") if "galaxy" not in path.parts}
    try:
        found = install(tmp_path, project)
    except Permanent as error:
        assert error.code in {"galaxy-failed", "galaxy-unsafe"}
    else:
        inside = found.resolve()
        assert all(path.resolve().is_relative_to(inside) for path in found.rglob("*"))
    assert {path for path in tmp_path.rglob("*") if "galaxy" not in path.parts} == before
    assert not Path("/tmp/octofleet-escaped").exists()


def _installing(directory, project, url, at, answers):
    at.wait()
    try:
        found = Galaxy(directory=directory, servers=[url]).installed(project, "web", no_other_repository, until=time.monotonic() + 300)
        answers.put(str(found.directory))
    except OctofleetError as error:
        answers.put(f"{error.code}: {error.message}")


def test_of_several_processes_one_installs(tmp_path, project, artifact):
    of_galaxy(project)
    forked = multiprocessing.get_context("fork")
    with galaxy_server({("example", "web", "1.0.0"): artifact}) as server:
        at, answers = forked.Barrier(3), forked.Queue()
        line = [forked.Process(target=_installing, args=(tmp_path / "galaxy", project, server.url, at, answers)) for _ in range(3)]
        for process in line:
            process.start()
        said = {answers.get(timeout=300) for _ in line}
        for process in line:
            process.join(60)
        assert len(said) == 1
        assert (tmp_path / "galaxy").samefile(Path(next(iter(said))).parent)
        assert sum("/download/" in path for path in server.asked) == 1


def test_what_is_not_used_goes_and_what_is_used_stays(tmp_path, project):
    role_archive(project / "r.tar.gz")
    (project / "requirements.yml").write_text("roles:\n  - src: r.tar.gz\n    name: mine\n")
    first = install(tmp_path, project)
    role_archive(project / "r.tar.gz", text="another")
    second = install(tmp_path, project)
    assert first != second
    long_ago = time.time() - cached.KEEP_S - 10
    os.utime(cached.used(tmp_path / "galaxy", first.name), (long_ago, long_ago))
    install(tmp_path, project)
    assert not first.exists()
    assert second.exists()


def test_who_waits_for_an_entry_that_is_removed_begins_anew(tmp_path):
    """Else two would install it at once: one with the lock that is gone, one with the new one."""
    cache = tmp_path / "galaxy"
    cache.mkdir()
    path = cached.used(cache, "key")
    alone = []

    def use():
        with cached.locked(cache, "key"), path.open("rb") as other, pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        alone.append(True)

    with path.open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        waiting = threading.Thread(target=use)
        waiting.start()
        until(lambda: sum(os.path.realpath(fd) == str(path) for fd in Path("/proc/self/fd").iterdir()) == 2, "it waits", within_s=60)
        path.unlink()
    waiting.join(60)
    assert alone


def test_what_another_process_removes_meanwhile_is_no_trouble(tmp_path, project):
    role_archive(project / "r.tar.gz")
    (project / "requirements.yml").write_text("roles:\n  - src: r.tar.gz\n    name: mine\n")
    (tmp_path / "galaxy").mkdir()
    (tmp_path / "galaxy" / "gone.lock").symlink_to("nowhere")
    assert install(tmp_path, project).is_dir()


def test_a_manifest_that_is_none_is_refused(tmp_path, project, artifact):
    with tarfile.open(artifact) as before, tarfile.open(project / "a.tar.gz", "w:gz") as after:
        for member in before:
            data = before.extractfile(member).read() if member.isfile() else b""
            if member.name == "MANIFEST.json":
                told = json.loads(data)
                told["collection_info"]["dependencies"] = ["example.other"]
                data = json.dumps(told).encode()
                member.size = len(data)
            after.addfile(member, io.BytesIO(data))
    (project / "requirements.yml").write_text("collections:\n  - a.tar.gz\n")
    error = refused(lambda: install(tmp_path, project))
    assert error.code == "galaxy-failed"


def test_a_program_that_closes_its_output_is_stopped_at_its_limit(tmp_path):
    command = Command(line=["sh", "-c", "echo said; exec >&- 2>&-; exec sleep 1000"], environment=dict(os.environ), directory=tmp_path)
    ended = confined.run(command, limit_s=1)
    assert (ended.stopped, ended.output) == (True, "said\n")
