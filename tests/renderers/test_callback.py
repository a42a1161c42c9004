"""What machines report: the rendered shell script, run by dash and by BusyBox against a real server on loopback, and where each format runs it."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from renderers import callback, inputs
from renderers.contract import Text
from renderers.registry import RENDERERS
from tests.conftest import program
from tests.renderers import lints, readers
from tests.renderers.cases import CASES, HASH, case
from tests.renderers.test_injection import HOSTILE

HOST = inputs.machine(CASES["debian-bios-lvm-static"])
TOOLS = ("sed", "head", "tail", "cat", "cut", "uname", "grep", "ip", "sleep", "wget")
Form = dict[str, str]


@contextmanager
def receiving(failures: int = 0) -> Iterator[tuple[str, list[Form]]]:
    """A server on loopback, the URL of a callback there, and the forms that it took; it refuses the first `failures` requests."""
    forms: list[Form] = []
    refused: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode("ascii")
            assert self.headers["Content-Type"] == "application/x-www-form-urlencoded" and "\n" not in body
            if len(refused) < failures:
                refused.append(self.path)
                self.send_response(503)
            else:
                fields = parse_qs(body, strict_parsing=True, keep_blank_values=True)
                assert all(len(values) == 1 for values in fields.values())
                forms.append({name: values[0] for name, values in fields.items()})
                self.send_response(204)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            del format, args

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/i/T.0*[k]en/callback", forms
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(params=["dash with curl", "dash with wget", "busybox"])
def shell(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[list[str], dict[str, str]]:
    """A shell, and an environment that has the programs that an installer has."""
    environment = {"PATH": os.environ["PATH"]}
    if request.param == "busybox":
        busybox = program("busybox", "busybox-static")
        (tmp_path / "bin").mkdir()
        for tool in TOOLS:
            (tmp_path / "bin" / tool).symlink_to(busybox)
        return [busybox, "ash"], {"PATH": str(tmp_path / "bin")}
    if request.param == "dash with wget":
        (tmp_path / "bin").mkdir()
        for tool in TOOLS:
            (tmp_path / "bin" / tool).symlink_to(program(tool, {"ip": "iproute2", "wget": "wget"}.get(tool, "coreutils")))
        environment = {"PATH": str(tmp_path / "bin")}
    else:
        program("curl", "curl")
    return [program("dash", "dash")], environment


def run(shell: tuple[list[str], dict[str, str]], tmp_path: Path, url: str, *arguments: str) -> None:
    """Write the script by its own command and run it; it says nothing and succeeds."""
    words, environment = shell
    path = tmp_path / "report"
    subprocess.run([*words, "-c", callback.write(Text(url), HOST, str(path))], check=True, timeout=60)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text() == "".join(f"{line}\n" for line in callback.script(Text(url), HOST))
    done = subprocess.run([*words, str(path), *arguments], env=environment, capture_output=True, check=True, timeout=120)
    assert (done.stdout, done.stderr) == (b"", b"")


def test_facts_and_host_keys_arrive(shell: tuple[list[str], dict[str, str]], tmp_path: Path) -> None:
    ssh = tmp_path / "root" / "etc" / "ssh"
    ssh.mkdir(parents=True)
    keys = ["ssh-ed25519 AAAAC3+/x== root@new", "ssh-rsa AAAAB3+/y= root@new"]
    for name, key in zip(("ed25519", "rsa"), keys, strict=True):
        (ssh / f"ssh_host_{name}_key.pub").write_text(f"{key}\n")
        (ssh / f"ssh_host_{name}_key").write_text("private")
    (ssh.parent / "os-release").write_text('PRETTY_NAME="Z\\"oë\\\\ 1 & 2 %41"\n')
    with receiving() as (url, forms):
        run(shell, tmp_path, url, "installed", str(tmp_path / "root"))
    [form] = forms
    facts = json.loads(form["facts"])
    assert form == {
        "host": "db-01",
        "tenant": "acme",
        "stage": "installed",
        "facts": form["facts"],
        "hostkeys": "".join(f"{k}\n" for k in keys),
    }
    assert facts["kernel"] == os.uname().release and facts["architecture"] == os.uname().machine
    assert facts["os"].startswith("Z?o") and facts["os"].endswith("? 1 & 2 %41") and "private" not in str(form)
    assert facts["cpus"] == Path("/proc/cpuinfo").read_text().count("processor\t") and facts["memoryKiB"] > 1000
    disks = {disk["name"]: disk["bytes"] for disk in facts["disks"]}
    sizes = {path.name: int((path / "size").read_text()) * 512 for path in Path("/sys/block").iterdir()}
    assert disks.items() <= sizes.items() and not any(name.startswith(("loop", "ram")) for name in disks)
    assert set(facts) == {"kernel", "architecture", "os", "memoryKiB", "cpus", "serial", "uuid", "disks", "addresses"}


def test_a_failure_brings_the_end_of_the_log_without_what_is_secret(shell: tuple[list[str], dict[str, str]], tmp_path: Path) -> None:
    log = tmp_path / "log"
    with receiving(failures=1) as (url, forms):
        lines = [f"line {n}" for n in range(500)]
        lines += ["x" * 5000, f"useradd --password {HASH} ada", f"fetching {url}/../preseed.cfg", "100% & + = ; #\té\x1b[0m"]
        log.write_text("\n".join(lines))
        run(shell, tmp_path, url, "failed", "/", str(log))
    [form] = forms
    assert set(form) == {"host", "tenant", "stage", "log"} and form["stage"] == "failed"
    assert "octofleetsalt" not in form["log"] and "k]en" not in form["log"]
    assert form["log"].endswith("useradd --password *** ada\n" + form["log"].splitlines()[-2] + "\n100% & + = ; # ???[0m\n")
    assert form["log"].splitlines()[-2] == f"fetching {url.split('/i/')[0]}/***/callback/../preseed.cfg"
    assert form["log"].splitlines()[0] == "line 424" and len(form["log"]) <= 16384


def test_the_longest_log_is_one_that_the_server_takes(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("".join(f"{'%&+' * 1000}\n" for _ in range(200)))
    with receiving() as (url, forms):
        run(([program("dash", "dash")], {"PATH": os.environ["PATH"]}), tmp_path, url, "failed", "/", str(log))
    assert len(forms[0]["log"]) == 80 * 201 <= 16384


def test_nobody_there_is_no_failure(shell: tuple[list[str], dict[str, str]], tmp_path: Path) -> None:
    run(shell, tmp_path, "http://127.0.0.1:1/i/x/callback", "booted")


@given(path=st.text(alphabet="abc.*[]$&'()+,;=:@!~%-/", max_size=30).filter(lambda path: path.strip("/")))
@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_any_url_stays_one_word_and_is_masked(path: str) -> None:
    url = Text(f"http://h.example/{path}/end")
    lines = callback.script(url, HOST)
    assert subprocess.run(["sh", "-n"], input="\n".join(lines).encode(), check=False).returncode == 0
    mask = next(line for line in lines if line.startswith("mask()"))
    done = subprocess.run(["sh", "-c", f"{mask}\nmask"], input=f"at {url} now".encode(), capture_output=True, check=True)
    assert done.stdout.decode() == "at http://h.example/***/end now"
    assert not any("\\" in line for line in lines)


FORMATS = {"preseed", "kickstart", "autoinstall", "autoyast", "user-data", "esxi", "startnet", "unattend"}


@pytest.mark.parametrize(
    ("host", "format", "stages"),
    [
        ("debian-bios-lvm-static", "preseed", {"booted", "partitioned", "installed", "failed"}),
        ("rocky-uefi-dhcp", "kickstart", {"booted", "partitioned", "installed", "failed"}),
        ("ubuntu-uefi-match", "autoinstall", {"booted", "installed", "failed"}),
        ("sles-uefi-lvm-static", "autoyast", {"booted", "partitioned", "installed", "failed"}),
        ("debian-cloud", "user-data", {"installed"}),
        ("esxi-uefi-static", "esxi", {"booted", "installed"}),
    ],
)
def test_each_format_reports_its_stages_and_nothing_without_a_callback(host: str, format: str, stages: set[str]) -> None:
    text = RENDERERS[format].render(CASES[host]).decode()
    assert {stage for stage in ("booted", "partitioned", "installed", "failed") if f"octofleet-report {stage}" in text} == stages
    install = {key: value for key, value in CASES[host]["install"].items() if key != "callback"}
    silent = RENDERERS[format].render(case(host, install=install)).decode()
    assert "octofleet-report" not in silent and "callback" not in silent


def test_windows_reports_before_it_restarts_and_at_its_first_logon() -> None:
    values = CASES["windows-uefi-domain"]
    words = lints.read_batch(RENDERERS["startnet"].render(values))
    told = [word for line in words if line[0] == "curl.exe" for word in line if "stage=" in word]
    assert told == [f"host=ad-01&tenant=acme&stage={stage}" for stage in ("booted", "installed", "failed")]
    assert words.index(["wpeutil", "reboot"]) == next(n for n, line in enumerate(words) if any("stage=installed" in w for w in line)) + 1
    rest, strings = lints.read_powershell(RENDERERS["windows-report"].render(values))
    assert strings[:3] == [values["install"]["callback"], "ad-01", "acme"] and "stage = ''; facts = " in rest
    assert "octofleet.ps1" in RENDERERS["unattend"].render(values).decode()
    silent = case("windows-uefi-domain", install={key: value for key, value in values["install"].items() if key != "callback"})
    assert b"stage=" not in RENDERERS["startnet"].render(silent) and b"octofleet.ps1" not in RENDERERS["unattend"].render(silent)


def test_the_lint_of_powershell_reads_its_quotes() -> None:
    assert lints.read_powershell("$a = 'it''s \u2019\u2019' + $b(1)".encode()) == ("$a = '' + $b(1)", ["it's \u2019"])
    with pytest.raises(AssertionError):
        lints.read_powershell(b"$a = 'x'; foreach ($b in $c) {")


@pytest.mark.parametrize("hostile", HOSTILE)
def test_no_name_leaves_a_string_of_powershell(hostile: str) -> None:
    from renderers.contract import RenderError
    from renderers.escape import powershell

    try:
        quoted = powershell(hostile)
    except RenderError:
        return
    assert lints.read_powershell(f"$x = {quoted}".encode()) == ("$x = ''", [hostile])


def test_the_watch_of_the_debian_installer_does_not_see_its_own_command(tmp_path: Path) -> None:
    entries = readers.read_preseed(RENDERERS["preseed"].render(CASES["debian-bios-lvm-static"]))
    early = next(value for _o, question, _t, value in entries if question == "preseed/early_command")
    pattern = shlex.split(early[early.index("grep -q") :])[2]
    log = tmp_path / "syslog"
    log.write_text(f"preseed: running preseed command preseed/early_command: {early}\nmain-menu[1]: INFO: Menu item 'netcfg' selected\n")
    assert subprocess.run(["grep", "-q", pattern, str(log)], check=False).returncode == 1
    log.write_text("main-menu[286]: WARNING **: Menu item 'bootstrap-base' failed.\n")
    assert subprocess.run(["grep", "-q", pattern, str(log)], check=False).returncode == 0


def test_a_late_command_that_fails_is_reported() -> None:
    entries = readers.read_preseed(RENDERERS["preseed"].render(CASES["debian-bios-lvm-static"]))
    late = next(value for _o, question, _t, value in entries if question == "preseed/late_command")
    trap = late.split(";")[0]
    done = subprocess.run(
        ["sh", "-c", f'sh() {{ echo "$@"; }}; {trap}; set -e; false; echo no'], capture_output=True, text=True, check=False
    )
    assert done.stdout == "/tmp/octofleet-report failed / /var/log/syslog\n" and done.returncode == 1
    assert subprocess.run(["sh", "-c", f"{trap}; set -e; true"], capture_output=True, check=True).stdout == b""
