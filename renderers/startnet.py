"""What Windows PE runs when wimboot has started it: fetch the answer file, run Setup, report, restart.

In: `values`. Out: startnet.cmd and the winpeshl.ini that has it run. Must not hold a secret besides the host's own URLs: iPXE fetches these
two. Sources: https://ipxe.org/wimboot; Microsoft, "Winpeshl.ini reference", "Windows Setup command-line options" (/unattend, /noreboot).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from renderers import inputs
from renderers.contract import Renderer
from renderers.escape import batch
from renderers.netboot import authority, own_files

REPORT = r"C:\Windows\Setup\Scripts\octofleet.ps1"
_CURL = " --globoff"
_ANSWERS = r"X:\unattend.xml"
_LOG = r"X:\Windows\Panther\setuperr.log"


def render(values: Mapping[str, Any]) -> bytes:
    """The batch file, with the line ends that Windows wants. curl.exe and Setup are in the medium that netboot.py names."""
    host, url, files = inputs.machine(values), inputs.install(values).callback, own_files(values)
    form = urlencode({"host": host.name, "tenant": host.tenant})
    curl = rf"curl.exe --cacert X:\Windows\System32\ca.crt{_CURL}" if authority(values) else f"curl.exe{_CURL}"

    def tell(stage: str, more: str = "") -> list[str]:
        if url is None:
            return []
        return [f"{curl} --silent --output NUL --max-time 30 --retry 5 --data {batch(f'{form}&stage={stage}')}{more} {batch(url)}"]

    lines = [
        "@echo off",
        "wpeinit",
        "set tries=0",
        ":fetch",
        f"{curl} --silent --show-error --fail --max-time 60 --output {_ANSWERS} {batch(f'{files}/unattend.xml')} && goto fetched",
        "set /a tries+=1",
        "ping -n 4 127.0.0.1 > NUL",
        "if %tries% lss 30 goto fetch",
        "goto failed",
        ":fetched",
        *tell("booted"),
        f"start /wait X:\\sources\\setup.exe /unattend:{_ANSWERS} /noreboot",
        "if errorlevel 1 goto failed",
        r"if not exist C:\Windows\System32\config\SYSTEM goto failed",
    ]
    if url is not None:
        lines += [
            r"mkdir C:\Windows\Setup\Scripts",
            f"{curl} --silent --show-error --fail --max-time 60 --output {REPORT} {batch(f'{files}/report.ps1')}",
        ]
    lines += [
        *tell("installed"),
        "wpeutil reboot",
        "exit /b 0",
        ":failed",
        *(
            ["set skip=0", f"for /f %%n in ('find /c /v \"\" ^< {_LOG}') do set /a skip=%%n-80", "if %skip% lss 0 set skip=0"]
            if url
            else []
        ),
        *([f"more +%skip% {_LOG} > X:\\tail.txt"] if url else []),
        *tell("failed", r" --data-urlencode log@X:\tail.txt"),
        "echo Octofleet: the installation has failed; the log is below X:\\Windows\\Panther",
        "cmd.exe",
    ]
    return "".join(f"{line}\r\n" for line in lines).encode()


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
