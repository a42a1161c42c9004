"""The shell script by which a machine tells `install.callback` how far it is, one for every system that has a POSIX shell.

In: the URL and who the host is. Out: the script's lines (no backslash, no control character, so that a preseed value can hold them) and the
commands that write and run it. A report is a POST (application/x-www-form-urlencoded) of `host`, `tenant`, `stage` (booted, partitioned,
installed or failed) and, with `booted` and `installed`, `facts` (one JSON object) and `hostkeys` (lines of ssh_host_*_key.pub), with
`failed` `log` (the last 80 lines, 200 characters of each). Must not print anything, nor fail an installation, nor send what it masks: the
callback's own path and crypt(3) hashes.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlencode, urlsplit

from renderers import escape, inputs
from renderers.contract import Text
from renderers.postinstall import Target

PATH = "/tmp/octofleet-report"  # noqa: S108 - of an installer, where nobody else is
LINUX_FACTS = (
    "disks() {",
    "  comma=",
    "  for path in /sys/block/*; do",
    "    case ${path##*/} in loop*|ram*|zram*|sr*|fd*|dm-*|md*|nbd*) continue ;; esac",
    '    size=$(cat "$path/size" 2>/dev/null)',
    '    [ "${size:-0}" -gt 0 ] || continue',
    '    echo "$comma{"\'"name":"\'"${path##*/}"\'","bytes":\'"$((size * 512))"\',"model":"\'"$(first "$path/device/model")"\'",'
    '"serial":"\'"$(first "$path/device/serial")"\'"}\'',
    "    comma=,",
    "  done | head -n 64",
    "}",
    "addresses() {",
    "  comma=",
    "  ip addr 2>/dev/null | while read -r kind address rest; do",
    "    case $kind in inet|inet6) ;; *) continue ;; esac",
    "    case $address in 127.*|::1/*|fe80:*) continue ;; esac",
    '    echo "$comma"\'"\'"$address"\'"\'',
    "    comma=,",
    "  done | head -n 64",
    "}",
    "facts() {",
    '  os=$(. "$root/etc/os-release" 2>/dev/null && echo "$PRETTY_NAME" | clean)',
    "  memory=0",
    '  while read -r key size rest; do [ "$key" != MemTotal: ] || memory=$size; done < /proc/meminfo',
    "  cpus=$(grep -c ^processor /proc/cpuinfo)",
    "  dmi=/sys/class/dmi/id",
    '  echo \'{"kernel":"\'"$(uname -r)"\'","architecture":"\'"$(uname -m)"\'","os":"\'"$os"\'","memoryKiB":\'"$memory"\',"cpus":\'"$cpus"\',\'',
    '  echo \'"serial":"\'"$(first $dmi/product_serial)"\'","uuid":"\'"$(first $dmi/product_uuid)"\'",\'',
    "  echo '\"disks\":['; disks; echo '],\"addresses\":['; addresses; echo ']}'",
    "}",
)
_HEAD = (
    "clean() { LC_ALL=C sed 's/[^] !#-[^-~]/?/g'; }",  # all of ASCII that JSON takes as it is
    'first() { head -n 1 "$1" 2>/dev/null | clean; }',
    "encode() {",
    "  LC_ALL=C sed -e 's/[[:blank:]]/ /g' -e 's/[^ -~]/?/g' -e 's/%/%25/g' -e 's/&/%26/g' -e 's/+/%2B/g' -e 's/ /+/g' |",
    '    while IFS= read -r text; do printf %s%%0A "$text"; done',
    "}",
)
_TAIL = (
    "send() {",
    "  if command -v curl >/dev/null 2>&1; then",
    '    printf %s "$body" | curl --globoff --silent --fail --max-time 30 --output /dev/null --data-binary @- "$url"',
    "  else",
    "    limits=; ! wget --version >/dev/null 2>&1 || limits='-T 30 -t 1'",  # a static BusyBox crashes at -T
    '    wget -q $limits -O /dev/null --post-data "$body" "$url"',
    "  fi",
    "}",
    'if [ "$stage" = failed ]; then',
    '  body="$body&log=$(tail -n 80 "$log" 2>/dev/null | mask | cut -c1-200 | encode)"',
    "fi",
    'if [ "$stage" = booted ] || [ "$stage" = installed ]; then',
    '  body="$body&facts=$(facts | encode)"',
    "fi",
    'if [ "$stage" = installed ]; then',
    '  body="$body&hostkeys=$(cat "$root"/etc/ssh/ssh_host_*_key.pub 2>/dev/null | encode)"',
    "fi",
    "for try in 1 2 3; do send >/dev/null 2>&1 && break; sleep 2; done",
    "exit 0",
)


def script(url: Text, host: inputs.Machine, facts: Sequence[str] = LINUX_FACTS) -> tuple[str, ...]:
    """The script's lines. Its arguments: the stage, where the installed system's root is, and the log to send; `facts` defines `facts`."""
    form = urlencode({"host": host.name, "tenant": host.tenant})
    return (
        "#!/bin/sh",
        f"stage=$1 root=${{2:-}} log=${{3:-}} url={escape.shell(url)}",
        f'body={escape.shell(form)}"&stage=$stage"',
        f"mask() {{ sed {' '.join(f'-e {escape.shell(rule)}' for rule in _masks(url))}; }}",
        *_HEAD,
        *facts,
        *_TAIL,
    )


def _masks(url: Text) -> list[str]:
    """sed's commands that take out of a log the path above the callback, which holds the token, and crypt(3) hashes."""
    own = "".join(f"[{char}]" if char in "[].*$" else char for char in urlsplit(url).path.rpartition("/")[0])
    return [*([f"s|{own}/|/***/|g"] if own.strip("/") else []), "s|[$][0-9A-Za-z]*[$][0-9A-Za-z./$=,*+_-]*|***|g"]


def write(url: Text, host: inputs.Machine, path: str = PATH) -> str:
    """A command of one line that makes the script the file `path`, for its owner alone."""
    return f"(umask 077; {Target().write(path, *script(url, host))})"


def here(url: Text, host: inputs.Machine, facts: Sequence[str] = LINUX_FACTS) -> list[str]:
    """The same in lines that a person can read, for a file that keeps lines apart."""
    return [f"(umask 077; cat > {PATH}) << 'OCTOFLEET'", *script(url, host, facts), "OCTOFLEET"]


def tell(stage: str, root: str = "/", log: str = "", path: str = PATH) -> str:
    """A command without quotes that reports `stage`; it never fails. `root` and `log` are plain paths."""
    return " ".join(["sh", path, stage, *([root] if root != "/" or log else []), *([log] if log else [])])
