"""The `git` program, run for the network alone, with secrets by environment and never by argument.

In: git's arguments, a URL, credentials. Out: its output, or an error of `reconciler.errors`. Must not be used to read repositories.
"""

import base64
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from reconciler.errors import OctofleetError, Permanent, RetryLater
from reconciler.source.errors import strip_credentials

FETCH_LIMIT_S = 600.0
PUSH_REFUSED, ACCESS_REFUSED = "push-refused", "access-refused"
"""The codes of what a forge will not have: this push, or anything from this user."""

_SETTINGS = {
    "fetch.unpackLimit": "1",
    "gc.autoDetach": "false",
    "gc.pruneExpire": "90.days.ago",
    "maintenance.autoDetach": "false",
    "core.hooksPath": os.devnull,
    "http.lowSpeedLimit": "1",
    "http.lowSpeedTime": "60",
}
_REFUSED = (
    "authentication failed",
    "permission denied",
    "could not read username",
    "could not read password",
    "returned error: 401",
    "error: 403",
)
_UNTRUSTED = ("host key verification failed", "certificate")
_MISSING = ("not found", "does not exist", "does not appear to be a git repository", "returned error: 404")


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """How to identify to a remote. Over https: `token` (with `username`, which most forges ignore), `ca_file`. Over ssh: `key_file`, else
    the agent and OpenSSH's own configuration; `known_hosts` replaces the user's file. Unknown host keys are always refused. `redirects`: whether an
    HTTP server may lead elsewhere.
    """

    username: str = "git"
    token: str = field(default="", repr=False)
    key_file: Path | None = None
    known_hosts: Path | None = None
    ca_file: Path | None = None
    redirects: bool = True


def run(arguments: list[str], repository: Path, url: str, credentials: Credentials, lock: int, *, limit_s: float = FETCH_LIMIT_S) -> str:
    """Standard output of `git ARGUMENTS` in a bare repository. A user and password in `url` move to the environment."""
    program = shutil.which("git")
    if program is None:
        raise Permanent("the program git is not installed", hint="install git, or give the path of a local repository", code="git-missing")
    plain, credentials = _without_secret(url, credentials)
    command = [program, f"--git-dir={repository}", *(plain if argument == url else argument for argument in arguments)]
    process = subprocess.Popen(  # noqa: S603 - a fixed program; the URL stands after `--`
        command,
        env=_environment(plain, credentials),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        pass_fds=(lock,),
        start_new_session=True,
    )
    try:
        output, said = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired as error:
        message = f"fetching {strip_credentials(url)} took more than {limit_s:.0f} s"
        raise RetryLater(message, after_s=60, hint="check the network", code="fetch-timeout") from error
    finally:
        _end(process)
    if process.returncode != 0:
        raise _failure(arguments[0], url, said.replace(credentials.token, "***") if credentials.token else said)
    return output


def _end(process: "subprocess.Popen[str]") -> None:
    """Whatever is left of git and the programs it started, when we leave early."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        process.communicate()


def _without_secret(url: str, credentials: Credentials) -> tuple[str, Credentials]:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or parts.username is None:
        return url, credentials
    plain = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    if credentials.token:
        return plain, credentials
    token = unquote(parts.password or "") or unquote(parts.username)
    username = unquote(parts.username) if parts.password else credentials.username
    return plain, replace(credentials, username=username, token=token)


def _environment(url: str, credentials: Credentials) -> Mapping[str, str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    settings = dict(_SETTINGS)
    parts = urlsplit(url)
    if credentials.token and parts.scheme in ("http", "https"):
        basic = base64.b64encode(f"{credentials.username}:{credentials.token}".encode()).decode()
        settings[f"http.{parts.scheme}://{parts.netloc}/.extraHeader"] = f"Authorization: Basic {basic}"
    if credentials.ca_file is not None:
        settings["http.sslCAInfo"] = str(credentials.ca_file)
    if not credentials.redirects:
        settings["http.followRedirects"] = "false"
    environment |= {"GIT_CONFIG_COUNT": str(len(settings))}
    for number, (key, value) in enumerate(settings.items()):
        environment |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return environment | {
        "LC_ALL": "C",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "true",
        "SSH_ASKPASS_REQUIRE": "never",
        "GIT_ALLOW_PROTOCOL": "file:http:https:ssh",
        "GIT_SSH_COMMAND": _ssh(credentials),
        "GIT_SSH_VARIANT": "ssh",
    }


def _ssh(credentials: Credentials) -> str:
    options = ["ssh", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o", "ConnectTimeout=20", "-o", "ServerAliveInterval=15"]
    if credentials.key_file is not None:
        options += ["-o", "IdentitiesOnly=yes", "-o", f"IdentityFile={_quoted(credentials.key_file)}"]
    if credentials.known_hosts is not None:
        options += ["-o", f"UserKnownHostsFile={_quoted(credentials.known_hosts)}", "-o", "GlobalKnownHostsFile=/dev/null"]
    return " ".join(f"'{option}'" for option in options)


def _quoted(path: Path) -> str:
    text = str(path.resolve())
    if set(text) & set("'\"\\%\n"):
        raise Permanent(
            f"the file name {text!r} cannot be given to ssh", hint="choose a name without quotes, backslashes and %", code="ssh-file-name"
        )
    return f'"{text}"'


def _failure(command: str, url: str, said: str) -> OctofleetError:
    """git has one exit code for all failures: its words decide only whether trying again makes sense."""
    doing = "push to" if command == "push" else "fetch"
    shown, text = strip_credentials(url), strip_credentials(said).strip()
    lines = [line for line in text.splitlines() if line.strip()] or ["git gave no reason"]
    reason = next((line.removeprefix("fatal: ") for line in lines if line.startswith(("fatal: ", "error: "))), lines[-1])
    low = text.lower()
    rejected = next((line.strip() for line in lines if "rejected]" in line), "")
    if rejected:
        hint = "see what protects the branch there, and what these credentials may do"
        return Permanent(f"{shown} refused the push: {rejected.removeprefix('! ')}", hint=hint, code=PUSH_REFUSED)
    if "no space left" in low or "disk quota" in low:
        return RetryLater(
            f"could not {doing} {shown}: the disk is full", after_s=60, hint="free some space in the data directory", code="disk-full"
        )
    if "read-only file system" in low:
        return Permanent(
            f"could not {doing} {shown}: the mirror is on a read-only file system", hint="choose another --data-dir", code="read-only"
        )
    if any(word in low for word in _UNTRUSTED):
        hint = "add the host's key to known_hosts after checking it, or the certificate authority's file to the settings"
        return Permanent(f"could not {doing} {shown}: its identity is not trusted ({reason})", hint=hint, code="untrusted-host")
    if any(word in low for word in _REFUSED):
        hint = "check the token or the ssh key, and that it may read the repository"
        return Permanent(f"could not {doing} {shown}: access was refused ({reason})", hint=hint, code=ACCESS_REFUSED)
    if any(word in low for word in _MISSING):
        hint = "check the URL, and that these credentials may see it"
        return Permanent(f"could not {doing} {shown}: there is no such repository ({reason})", hint=hint, code="repository-missing")
    return RetryLater(f"could not {doing} {shown}: {reason}", after_s=10, hint="check the network and the URL", code="fetch-failed")
