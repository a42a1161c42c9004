"""The files of docs/deploy, as far as they can be checked without running them: by the programs that will read them, and against each other."""

import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Mapping
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
import yaml

from reconciler.drivers.ansible.isolation import NAMESPACES
from reconciler.settings import load_settings
from tests.conftest import program
from tests.ha.topology import DEPLOY, TIMES

UNITS = ("octofleet-serve.service", "octofleet-worker@.service")
SOCKET = "octofleet-serve.socket"
PASSWORDS = ("PATRONI_SUPERUSER_PASSWORD", "PATRONI_REPLICATION_PASSWORD", "PATRONI_REWIND_PASSWORD", "OCTOFLEET_DATABASE_PASSWORD")
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
PATRONI: dict[str, Any] = yaml.safe_load((DEPLOY / "patroni.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


def run(*command: str | Path, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in command], env={**os.environ, **(env or {})}, capture_output=True, text=True, timeout=60, check=False
    )


def haproxy(text: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """HAProxy's opinion of a configuration whose servers have addresses that need no name server."""
    made = tmp_path / "haproxy.cfg"
    made.write_text(re.sub(r"^( +server \S+ )[\w-]+:", r"\g<1>127.0.0.1:", text, flags=re.MULTILINE))
    return run(program("haproxy", "haproxy"), "-c", "-f", made)


def test_haproxy_takes_its_file_without_a_warning(tmp_path: Path) -> None:
    said = haproxy((DEPLOY / "haproxy.cfg").read_text(), tmp_path)
    assert said.returncode == 0 and "WARNING" not in said.stderr, said.stderr


def test_haproxy_refuses_a_wrong_one(tmp_path: Path) -> None:
    text = (DEPLOY / "haproxy.cfg").read_text()
    assert haproxy(text.replace("http-check expect status 200", "http-check expects status 200"), tmp_path).returncode != 0


def complaints(text: str, tmp_path: Path) -> list[str]:
    """Patroni's, but for what depends on the machine: whether etcd answers, ports are free, and which PostgreSQL is installed."""
    made = tmp_path / "patroni.yml"
    made.write_text(text)
    said = run(program("patroni", "patroni"), "--validate-config", made, env=dict(SERVICES["db-1"]["environment"]))
    lines = said.stderr.splitlines()
    assert any(line.startswith("etcd3.hosts") for line in lines), said
    return [line for line in lines if not re.match(r"etcd3\.hosts|\S+\.listen |postgresql\.bin_dir", line)]


def test_patroni_takes_its_file(tmp_path: Path) -> None:
    """Patroni 3.0 does not know that pg_hba may stand below postgresql."""
    assert complaints((DEPLOY / "patroni.yml").read_text(), tmp_path) == ["bootstrap.pg_hba  is not defined."]


def test_patroni_refuses_a_wrong_one(tmp_path: Path) -> None:
    wrong = (DEPLOY / "patroni.yml").read_text().replace("ttl: 20", "ttl: soon").replace("data_dir:", "data_dirs:")
    assert any("bootstrap.dcs.ttl" in line for line in complaints(wrong, tmp_path))
    assert any("postgresql.data_dir" in line for line in complaints(wrong, tmp_path))


@pytest.mark.parametrize("times", [PATRONI["bootstrap"]["dcs"], TIMES], ids=["deployed", "tested"])
def test_a_primary_has_two_tries_before_its_lease_ends(times: Mapping[str, int]) -> None:
    assert times["ttl"] >= times["loop_wait"] + 2 * times["retry_timeout"]


def test_compose_has_the_shape_of_a_compose_file(tmp_path: Path) -> None:
    check = (program("check-jsonschema", "pip's check-jsonschema"), "--builtin-schema", "vendor.compose-spec")
    said = run(*check, DEPLOY / "compose.yaml")
    assert said.returncode == 0, said.stdout
    (tmp_path / "wrong.yaml").write_text(yaml.safe_dump(COMPOSE | {"services": SERVICES | {"db-3": {"restarts": "always"}}}))
    assert run(*check, tmp_path / "wrong.yaml").returncode != 0


def test_the_parts_are_there_and_name_each_other() -> None:
    names = sorted(SERVICES)
    assert names == ["db-1", "db-2", "etcd-1", "etcd-2", "etcd-3", "haproxy", "serve-1", "serve-2", "serve-3", "worker-1", "worker-2"]
    assert PATRONI["etcd3"]["hosts"] == [f"{name}:2379" for name in names if name.startswith("etcd-")]
    servers = re.findall(r"^ +server (\S+) (\S+):(\d+) check", (DEPLOY / "haproxy.cfg").read_text(), flags=re.MULTILINE)
    behind = [(name, name, "5432" if name.startswith("db-") else "8080") for name in names if name.startswith(("db-", "serve-"))]
    assert servers == behind
    for name in names:
        said = SERVICES[name].get("environment", {})
        if name.startswith("etcd-"):
            assert said["ETCD_NAME"] == name and f"{name}={said['ETCD_INITIAL_ADVERTISE_PEER_URLS']}" in said["ETCD_INITIAL_CLUSTER"].split(
                ","
            )
            assert said["ETCD_ADVERTISE_CLIENT_URLS"] == f"http://{name}:2379"
        if name.startswith("db-"):
            assert (said["PATRONI_NAME"], said["PATRONI_RESTAPI_CONNECT_ADDRESS"]) == (name, f"{name}:8008")
            assert said["PATRONI_POSTGRESQL_CONNECT_ADDRESS"] == f"{name}:5432" and set(PASSWORDS) <= set(said)


def test_each_container_has_data_of_its_own_and_files_that_exist() -> None:
    own = [volume.partition(":")[0] for service in SERVICES.values() for volume in service.get("volumes", ())]
    data = [name for name in own if not name.startswith("./") and name != "boot"]
    assert sorted(data) == sorted(set(SERVICES) - {"haproxy"}) and set(own) - set(COMPOSE["volumes"]) == {
        "./patroni.yml",
        "./create-database.sh",
        "./haproxy.cfg",
        "./key",
        "./octofleet.toml",
    }
    assert all((DEPLOY / name).is_file() for name in own if name.startswith("./") and name != "./key")


def test_the_image_gets_every_package_and_needs_neither_root_nor_a_writable_one() -> None:
    """What can be told without building it."""
    root = DEPLOY.parents[1]
    packages = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    lines = (root / "Dockerfile").read_text().splitlines()
    let_in = (root / ".dockerignore").read_text().splitlines()
    assert all(f"COPY {name} {name}" in lines and f"!{name}" in let_in for name in packages)
    assert lines[-1].startswith("CMD [") and "USER 10001:10001" in lines and 'ENTRYPOINT ["octofleet"]' in lines
    ours = [service for name, service in SERVICES.items() if name.startswith(("serve", "worker"))]
    assert all(service["read_only"] and service["tmpfs"] == ["/tmp"] for service in ours)


def test_no_password_stands_in_a_file() -> None:
    for service in SERVICES.values():
        for key, value in service.get("environment", {}).items():
            if key.endswith("_PASSWORD"):
                assert value == f"${{{key}:?}}"
    assert "password" not in str(PATRONI).lower()


def test_the_settings_are_settings() -> None:
    from_unit = dict(line.split("=", 1) for line in (DEPLOY / "systemd/octofleet.env").read_text().splitlines() if not line.startswith("#"))
    for environment, where in ((SERVICES["serve-1"]["environment"], "haproxy:5432"), (from_unit, "127.0.0.1:6432")):
        assert environment["OCTOFLEET_CONFIG"] == "/etc/octofleet/octofleet.toml"
        settings = load_settings(DEPLOY / "octofleet.toml", environment)
        assert settings.database_url.startswith("postgresql://octofleet:") and settings.database_url.endswith(f"@{where}/octofleet")
        assert settings.apply.lease_s > PATRONI["bootstrap"]["dcs"]["ttl"]
    stop_s = tomllib.loads((DEPLOY / "octofleet.toml").read_text())["apply"]["stop_s"]
    graces = [service["stop_grace_period"] for name, service in SERVICES.items() if name.startswith(("serve", "worker"))]
    assert len(graces) == 5 and all(float(grace.removesuffix("s")) > stop_s for grace in graces)


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units, with a program that exists."""
    for name in UNITS:
        text = (DEPLOY / "systemd" / name).read_text()
        assert "ExecStart=/opt/octofleet/bin/octofleet " in text
        (tmp_path / name.replace("@.", "@1.")).write_text(text.replace("/opt/octofleet/bin/octofleet", shutil.which("true") or "/bin/true"))
    shutil.copy(DEPLOY / "systemd" / SOCKET, tmp_path)
    return tmp_path


def test_systemd_takes_the_units(units: Path) -> None:
    analyze = program("systemd-analyze", "systemd")
    listens = run(analyze, "verify", "--man=no", units / SOCKET)
    assert (listens.returncode, listens.stderr) == (0, ""), listens.stderr
    for unit in units.glob("*.service"):
        said = run(analyze, "verify", "--man=no", unit)
        assert (said.returncode, said.stderr) == (0, ""), said.stderr
        hardened = run(analyze, "security", "--offline=true", "--threshold=30", unit)
        assert hardened.returncode == 0, hardened.stdout
    unit.write_text(unit.read_text().replace("ProtectSystem=strict", "ProtectSystem=strictly"))
    assert "strictly" in run(analyze, "verify", "--man=no", unit).stderr


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_outlives_what_it_waits_for(name: str) -> None:
    unit = ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string((DEPLOY / "systemd" / name).read_text())
    service = unit["Service"]
    stop_s = tomllib.loads((DEPLOY / "octofleet.toml").read_text())["apply"]["stop_s"]
    assert (service["KillSignal"], service["KillMode"], service["Restart"]) == ("SIGTERM", "mixed", "always")
    assert float(service["TimeoutStopSec"].removesuffix("s")) > stop_s
    assert (service["Type"], service["TimeoutStartSec"]) == ("notify", "infinity") and service["WatchdogSec"]
    assert service["NoNewPrivileges"] == "yes" and service["ProtectSystem"] == "strict" and service["MemoryDenyWriteExecute"] == "yes"
    assert f"OCTOFLEET_DATA_DIR=%S/{service['StateDirectory']}" in service["Environment"]


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_lets_playbooks_be_isolated(name: str) -> None:
    """What bubblewrap makes is allowed, and nothing covers a part of /proc: the kernel then refuses a fresh one (mount_too_revealing in fs/namespace.c)."""
    unit = ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string((DEPLOY / "systemd" / name).read_text())
    service = unit["Service"]
    made = {word.removeprefix("--unshare-").removesuffix("-try") for word in NAMESPACES if word.startswith("--unshare-")} | {"mnt", "net"}
    assert set(service["RestrictNamespaces"].split()) == made
    assert service["SystemCallFilter"].split() == ["@system-service", "@mount"]
    covering = ("ProtectKernelTunables", "ProtectKernelLogs", "ProtectHostname", "ProcSubset", "InaccessiblePaths", "ReadOnlyPaths")
    assert not [setting for setting in covering if setting in service]
    assert (service["User"], service["CapabilityBoundingSet"], service["NoNewPrivileges"]) == ("octofleet", "", "yes")
