"""What Windows PE runs when wimboot has started it: fetch the answer file, run Setup, report, restart.

In: `values`. Out: startnet.cmd and the winpeshl.ini that has it run. Must not hold a secret besides the host's own URLs: iPXE fetches these
two. Sources: https://ipxe.org/wimboot; Microsoft, "Winpeshl.ini reference", "Windows Setup command-line options" (/unattend, /noreboot).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from renderers import inputs
from renderers.contract import Renderer, Text
from renderers.escape import batch
from renderers.netboot import authority, own_files

REPORT = r"C:\Windows\Setup\Scripts\octofleet.ps1"
_ANSWERS = r"X:\unattend.xml"
_LOG = r"X:\Windows\Panther\setuperr.log"
_TAIL = r"X:\tail.txt"


def render(values: Mapping[str, Any]) -> bytes:
    """The batch file, with the line ends that Windows wants. curl.exe and Setup are in the medium that netboot.py names."""
    host, url, files = inputs.machine(values), inputs.install(values).callback, own_files(values)
    curl = r"curl.exe --cacert X:\Windows\System32\ca.crt --globoff" if authority(values) else "curl.exe --globoff"
    lines = [
        "@echo off",
        "wpeinit",
        "set tries=0",
        ":fetch",
        f"{_fetch(curl, f'{files}/unattend.xml', _ANSWERS)} && goto fetched",
        "set /a tries+=1",
        "ping -n 4 127.0.0.1 > NUL",
        "if %tries% lss 30 goto fetch",
        "goto failed",
        ":fetched",
        *_tell(curl, url, host, "booted"),
        f"start /wait X:\\sources\\setup.exe /unattend:{_ANSWERS} /noreboot",
        "if errorlevel 1 goto failed",
        r"if not exist C:\Windows\System32\config\SYSTEM goto failed",
        *(["mkdir " + REPORT.rpartition("\\")[0], _fetch(curl, f"{files}/report.ps1", REPORT)] if url else []),
        *_tell(curl, url, host, "installed"),
        "wpeutil reboot",
        "exit /b 0",
        ":failed",
        "set skip=0",
        f"for /f %%n in ('find /c /v \"\" ^< {_LOG}') do set /a skip=%%n-80",
        "if %skip% lss 0 set skip=0",
        f"more +%skip% {_LOG} > {_TAIL}",
        f"type {_TAIL}",
        *_tell(curl, url, host, "failed", f" --data-urlencode log@{_TAIL}"),
        "echo Octofleet: the installation has failed",
        "cmd.exe",
    ]
    return "".join(f"{line}\r\n" for line in lines).encode()


def _fetch(curl: str, url: str, path: str) -> str:
    return f"{curl} --silent --show-error --fail --max-time 60 --output {path} {batch(url)}"


def _tell(curl: str, url: Text | None, host: inputs.Machine, stage: str, more: str = "") -> list[str]:
    """A report as callback.py's shell makes it, with nothing but `log` beside the stage: Windows PE has no facts worth telling."""
    if url is None:
        return []
    form = urlencode({"host": host.name, "tenant": host.tenant, "stage": stage})
    return [f"{curl} --silent --output NUL --max-time 30 --retry 5 --data {batch(form)}{more} {batch(url)}"]


def _shell(values: Mapping[str, Any]) -> bytes:
    """The same for every host: Setup's own medium would start Setup and ask."""
    del values
    return b"[LaunchApps]\r\n%SYSTEMROOT%\\System32\\cmd.exe, /c %SYSTEMROOT%\\System32\\startnet.cmd\r\n"


def _serves(values: Mapping[str, Any]) -> bool:
    return inputs.has_installer(values) and inputs.distribution(values) == "windows"


RENDERER = Renderer(
    format="startnet",
    version=1,
    filename="startnet.cmd",
    uses=("name", "tenant", "fqdn", "os", "install", "boot"),
    serves=_serves,
    render=render,
)
SHELL_RENDERER = Renderer(format="winpeshl", version=1, filename="winpeshl.ini", uses=("os", "install"), serves=_serves, render=_shell)
