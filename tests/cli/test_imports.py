"""A plan starts with what it needs: each of these costs more than many a plan takes."""

import subprocess
import sys

from tests.conftest import ROOT

NEVER = {
    "aiohttp": "when a process serves",
    "structlog": "when something is logged",
    "prometheus_client": "with --metrics-out",
    "opentelemetry": "when the environment asks for traces",
    "jinja2": "in the process that renders templates",
    "jsonschema": "for a document that is refused",
    "jsonschema_rs": "for the first document",
    "rfc8785": "for a value with a floating-point number",
    "rich": "for a progress bar",
    "cryptography": "for an Ansible Vault value",
    "ansible": "never: it is a program",
    "ansible_runner": "when Ansible runs",
    "concurrent.futures": "when something is looked at",
    "importlib.metadata": "when a package may bring a plugin",
    "logging": "never",
    "email": "never",
    "http.client": "never",
    "urllib.request": "never",
    "asyncio": "never",
}
"""Each with when it may be imported. Not here: click, pygit2 (it imports ssl and socket itself), msgspec, pluggy and ruamel.yaml, whose
reader imports the whole package."""
OF_SQLALCHEMY = {"asyncio", "concurrent.futures", "email", "importlib.metadata", "logging"}
"""SQLAlchemy imports these."""
PROGRAM = """
import sys, tempfile
from pathlib import Path
import reconciler.cli.plan
from reconciler.wiring import open_installation

with tempfile.TemporaryDirectory() as directory:
    installation = open_installation(Path(directory))
    assert installation.drivers and installation.kinds and installation.contract and installation.secrets
    installation.close()
print(*sys.modules)
"""


def test_only_the_server_and_what_sends_webhooks_know_its_library() -> None:
    naming = {path.relative_to(ROOT).parts[:2] for path in (ROOT / "reconciler").rglob("*.py") if "aiohttp" in path.read_text()}
    assert naming == {("reconciler", name) for name in ("server", "boot", "power", "standard_webhook.py")}, (
        "it is both a server and a client"
    )


def test_what_a_plan_imports_before_it_reads_anything() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, cwd=ROOT)
    imported = set(done.stdout.split())
    assert "reconciler.drivers.ansible" in imported
    excused = OF_SQLALCHEMY if "sqlalchemy" in imported else set()
    assert imported & (NEVER.keys() - excused) == set()


def test_what_help_imports() -> None:
    """Neither a command, nor what asks a server: who has just installed it sees the list at once."""
    program = "import sys\nfrom reconciler.cli.main import run\nrun(['--help'])\nprint(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    imported = set(done.stderr.split())
    assert "--server URL" in done.stdout and "reconciler.cli.main" in imported
    assert {name for name in imported if name.startswith("reconciler.")} == {
        "reconciler.cli",
        "reconciler.cli.main",
        "reconciler.errors",
    } | {name for name in imported if name in ("reconciler.types", "reconciler.types.problem", "reconciler.types.origin")}
    assert not imported & {"sqlalchemy", "msgspec", "pygit2", *NEVER}
