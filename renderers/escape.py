"""One escape function for every syntax that a rendered file is written in; every user value passes through one of them.

In: a string (a `Text` knows its field). Out: the string as that syntax must spell it, to be read back unchanged. A value that the syntax
cannot carry is a RenderError that names the field. Must not drop, replace or shorten anything.
"""

from __future__ import annotations

import html
import re
import shlex
import unicodedata
from typing import NoReturn

from renderers.contract import RenderError, pointer_of

_PLAIN_YAML = re.compile(r"[A-Za-z/](?:[\w./@+=,()-]|:(?=[\w./@+=,()-]))*(?: [\w./@+=()-](?:[\w./@+=,()-]|:(?=[\w./@+=,()-]))*)*", re.ASCII)
_YAML_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
_GRUB_PLAIN = re.compile(r"[A-Za-z0-9_./:@%+=,()\[\]~^-]+")
_SHELL_PATTERN = re.compile(r"([*?])")


def _refuse(value: str, why: str) -> NoReturn:
    raise RenderError(pointer_of(value), why)


def line(value: str, syntax: str = "this file") -> str:
    """`value`, once it is sure that it is text of one line: no control character, no line separator of Unicode, no lone surrogate."""
    for char in "" if value.isprintable() else value:
        if unicodedata.category(char) in {"Cc", "Cs", "Zl", "Zp"}:
            _refuse(value, f"the character U+{ord(char):04X} cannot stand in {syntax}: remove it")
    return value


def shell(value: str) -> str:
    """One word of a POSIX shell command line (POSIX.1-2017, XCU 2.2), free of backslashes of our own."""
    return shlex.quote(line(value, "a shell command"))


def shell_pattern(value: str) -> str:
    """A pattern of a shell's `case`: `*` and `?` keep their meaning, everything else is literal."""
    line(value, "a shell pattern")
    if "[" in value:
        _refuse(value, "patterns know * and ? only: write ? in place of a bracket")
    return "".join(part if part in {"*", "?"} else shlex.quote(part) for part in _SHELL_PATTERN.split(value) if part)


def kickstart(value: str) -> str:
    """One argument of a kickstart command; pykickstart and Anaconda split command lines with Python's `shlex.split(comments=True)`.

    Source: pykickstart `parser.py` (`_stateMachine`), which also splits the file at every line separator that `str.splitlines` knows.
    """
    return shlex.quote(line(value, "a kickstart"))


def preseed_part(value: str) -> str:
    """A part of a debconf value on one line: no control character and no backslash.

    A trailing backslash continues the line, and Debian's installer passes values through several shells and the debconf protocol, so
    backslashes are not used at all. Source: debian-installer `bin/debconf-set-selections`, debconf-set-selections(1).
    """
    line(value, "a preseed file")
    if "\\" in value:
        _refuse(value, "a preseed file cannot carry a backslash: remove it, or set this after the installation")
    return value


def preseed(value: str) -> str:
    """The whole value of one debconf question, without blanks at either end, which debconf would strip."""
    preseed_part(value)
    if value != value.strip():
        _refuse(value, "a preseed file cannot carry blanks at the start or the end of a value: remove them")
    return value


def kernel_arg(value: str) -> str:
    """One argument of the Linux kernel: printable ASCII, blanks only inside one pair of double quotes.

    Source: the kernel's admin-guide/kernel-parameters and `lib/cmdline.c` (`next_arg`).
    """
    if not value or not value.isascii() or not value.isprintable():
        _refuse(value, "a kernel argument is printable ASCII and not empty")
    if value.count('"') % 2:
        _refuse(value, "a kernel argument must close its double quote")
    if any(" " in part for part in value.split('"')[::2]):
        _refuse(value, "a kernel argument has blanks only inside double quotes: write two list items")
    return value


def default_grub(value: str) -> str:
    """A kernel argument for GRUB_CMDLINE_LINUX of an installed system, which a shell reads first and GRUB's own parser later."""
    kernel_arg(value)
    if set(value) & set("\"'`$\\"):
        _refuse(
            value,
            "the installed system's /etc/default/grub cannot carry quotes, $, ` or \\ in a kernel argument: set it after the installation",
        )
    return value


def ipxe(value: str) -> str:
    """One or more words of an iPXE command.

    iPXE has no quoting: it splits at blanks, expands `${...}` everywhere, ends a command at the words `||`, `&&` and `;`, and starts a
    comment at a word that begins with `#`. Source: iPXE `src/core/exec.c`, https://ipxe.org/scripting.
    """
    if not value.isascii() or not value.isprintable():
        _refuse(value, "an iPXE script carries printable ASCII only: percent-encode a URL, or remove the character")
    if "${" in value:
        _refuse(value, "iPXE would expand ${...}: remove it")
    words = value.split(" ")
    if any(word in {"", "||", "&&", ";"} or word.startswith("#") for word in words) or value.endswith("\\"):
        _refuse(
            value, "iPXE has no quoting: no blanks side by side, no word ||, && or ;, no word that starts with #, no backslash at the end"
        )
    return value


def grub(value: str) -> str:
    """One word of a GRUB script, in single quotes where it needs them. Source: GRUB manual, 'Writing full configuration files: Quoting'."""
    line(value, "a GRUB script")
    if value and _GRUB_PLAIN.fullmatch(value):
        return value
    return "'" + value.replace("'", "'\\''") + "'"


def grub_kernel_arg(value: str) -> str:
    """One kernel argument as GRUB's `linux` takes it: GRUB puts a backslash before each quote and backslash, so those must not be there.

    `key="a b"` becomes the one word `key=a b`, around which GRUB itself puts quotes that the kernel understands.
    Source: GRUB `grub-core/lib/cmdline.c`.
    """
    kernel_arg(value)
    quoted = re.fullmatch(r'([^"]*)"([^"]*)"', value)
    word = quoted[1] + quoted[2] if quoted else value
    if set(word) & set("\"'\\"):
        _refuse(value, "GRUB cannot pass quotes or a backslash inside a kernel argument: remove them")
    return grub(word)


def sudoers(value: str) -> str:
    """One rule of sudoers(5) after the user name: a line that does not continue."""
    line(value, "a sudoers file")
    if not value.strip() or value.endswith("\\"):
        _refuse(value, "a sudo rule is one line, such as ALL=(ALL) NOPASSWD: ALL, and does not end in a backslash")
    return value


def xml(value: str) -> str:
    """Text that XML 1.0 can hold on one line; who writes the document replaces `&`, `<` and quotes. Source: XML 1.0, 2.2 `Char`."""
    line(value, "an XML file")
    if "\ufffe" in value or "\uffff" in value:
        _refuse(value, "XML cannot carry U+FFFE or U+FFFF: remove it")
    if value != value.strip():
        _refuse(value, "an XML file cannot carry blanks at the start or the end of a value safely: remove them")
    return value


def markup(value: str) -> str:
    """The same where the document is written by hand, as a user's template is: `&`, `<`, `>` and both quotes become references."""
    return html.escape(xml(value))


def batch(value: str) -> str:
    """One argument of a Windows batch file, in double quotes, where nothing but `"` and `%` means anything. Source: `cmd /?`, `for /?`."""
    line(value, "a batch file")
    if not value.isascii() or '"' in value or value.endswith("\\"):
        _refuse(value, "a batch file carries ASCII without double quotes, and no backslash at the end of a value: remove it")
    return f'"{value.replace("%", "%%")}"'


def powershell(value: str) -> str:
    """One string of PowerShell, in single quotes, where nothing but a single quote means anything; PowerShell takes four other characters
    for single quotes too. Source: PowerShell, `about_Quoting_Rules`; its tokenizer's `IsSingleQuote`."""
    line(value, "a PowerShell script")
    return "'" + re.sub("(['\u2018\u2019\u201a\u201b])", r"\1\1", value) + "'"


def esxi(value: str) -> str:
    """One argument of a command in ESXi's ks.cfg, whose parser splits as a shell does; no quote, backslash or `#` goes through it unharmed."""
    line(value, "an ESXi kickstart")
    if not value or not value.isascii() or set(value) & set("\"'`\\#"):
        _refuse(value, "an ESXi kickstart carries ASCII without quotes, backslashes and #: remove them")
    return f'"{value}"' if " " in value else value


def boot_cfg(value: str) -> str:
    """A value of ESXi's boot.cfg: printable ASCII on one line, no module separator. Source: esx-boot `mboot/config.c`."""
    if not value.isascii() or not value.isprintable() or value != value.strip() or "---" in value:
        _refuse(value, "boot.cfg carries printable ASCII without --- and without blanks at either end: remove them")
    return value


def yaml(value: str) -> str:
    """A YAML scalar that YAML 1.1 (cloud-init, netplan) and 1.2 both read back as this very string.

    Plain where nothing could take it for anything else, else double-quoted with JSON's escapes. Source: YAML 1.2.2, chapters 5 and 7.3.
    """
    if "\0" in value or any(unicodedata.category(char) == "Cs" for char in value):
        _refuse(value, "YAML cannot carry NUL or a lone surrogate: remove it")
    if _PLAIN_YAML.fullmatch(value) and value.lower() not in _YAML_WORDS:
        return value
    return '"' + "".join(_yaml_char(char) for char in value) + '"'


def _yaml_char(char: str) -> str:
    short = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(char)
    if short:
        return short
    code = ord(char)
    if unicodedata.category(char) in {"Cc", "Cf", "Zl", "Zp", "Cn", "Co"} or code == 0xA0:
        return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
    return char
