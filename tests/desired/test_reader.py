"""The reader against a table of YAML, and against the limits that keep hostile files harmless."""

import subprocess
import sys
import time

import pytest

from reconciler.desired.reader import MAX_DEPTH, read
from reconciler.types.values import VAULT_KEY
from tests.conftest import ROOT

VALUES = {
    "yes": "yes",
    "no": "no",
    "on": "on",
    "NO": "NO",
    "y": "y",
    "true": True,
    "False": False,
    "~": None,
    "": None,
    "null": None,
    "12": 12,
    "-3": -3,
    "+4": 4,
    "0": 0,
    "-0": 0,
    "0o17": 15,
    "0x1F": 31,
    "1e3": 1000.0,
    "1.5": 1.5,
    ".5": 0.5,
    "5.": 5.0,
    "1_000": "1_000",
    "11:22:33": "11:22:33",
    "12:30:45": "12:30:45",
    "52:54:00:00:01:23": "52:54:00:00:01:23",
    "0b1": "0b1",
    "2024-01-02": "2024-01-02",
    "2024-01-02T03:04:05Z": "2024-01-02T03:04:05Z",
    "10.0.0.1": "10.0.0.1",
    "-": None,
    "0xZZ": "0xZZ",
    "1.2.3": "1.2.3",
    ".": ".",
    "...x": "...x",
    "'12'": "12",
    '"true"': "true",
    "'0777'": "0777",
    '"\\u00e9"': "é",
    '"a\\tb\\n"': "a\tb\n",
    "9007199254740991": 2**53 - 1,
    "'<<'": "<<",
    "$x": "$x",
    "<<": "<<",
    "[]": [],
    "{}": {},
    "[1, [2]]": [1, [2]],
}
VALUES["-"] = [None]

REFUSED = {
    "a: 0777": ("yaml-number", 1, 4),
    "a: -01": ("yaml-number", 1, 4),
    "a: 00.5": ("yaml-number", 1, 4),
    "a: .inf": ("yaml-number", 1, 4),
    "a: .NaN": ("yaml-number", 1, 4),
    "a: 9007199254740992": ("yaml-number", 1, 4),
    "a: 1e999": ("yaml-number", 1, 4),
    "a: " + "9" * 5000: ("yaml-number", 1, 4),
    "a: 0x" + "f" * 5000: ("yaml-number", 1, 4),
    "a: 1\nb: 2\na: 3": ("yaml-duplicate-key", 3, 1),
    "a: 1\n'a': 3": ("yaml-duplicate-key", 2, 1),
    "1: a": ("yaml-key", 1, 1),
    "true: a": ("yaml-key", 1, 1),
    "~: a": ("yaml-key", 1, 1),
    ": a": ("yaml-syntax", 1, 1),
    "{? : a}": ("yaml-key", 1, 4),
    "? [a]\n: b": ("yaml-key", 1, 3),
    "x: &a 1": ("yaml-anchor", 1, 4),
    "x: *a": ("yaml-anchor", 1, 4),
    "&a x: 1": ("yaml-anchor", 1, 1),
    "x: &a {}": ("yaml-anchor", 1, 4),
    "*a : 1": ("yaml-anchor", 1, 1),
    "y:\n  <<: {a: 1}": ("yaml-merge-key", 2, 3),
    "a: !!str x": ("yaml-tag", 1, 4),
    "a: !foo [1]": ("yaml-tag", 1, 4),
    "a: ! 5": ("yaml-tag", 1, 4),
    "!vault x: 1": ("yaml-tag", 1, 1),
    "a: !vault {}": ("yaml-tag", 1, 4),
    "a: !vault x": ("yaml-vault", 1, 4),
    "a: !!python/object/apply:os.system [x]": ("yaml-tag", 1, 4),
    "$octofleet.vault: x": ("yaml-reserved-key", 1, 1),
    "a: !<tag:x> 1": ("yaml-tag", 1, 4),
    '"\\x07": 1': ("yaml-control-character", 1, 1),
    'a: "\\0"': ("yaml-control-character", 1, 4),
    "%YAML 1.1\n---\na: 1": ("yaml-directive", 1, 1),
    "%TAG ! tag:x,2000:\n---\na: 1": ("yaml-directive", 1, 1),
    "a:\n\tb: 1": ("yaml-syntax", 2, 1),
    "a: b: c": ("yaml-syntax", 1, 5),
    "a: [1": ("yaml-syntax", 2, 1),
    "a: 'x": ("yaml-syntax", 1, 6),
    "a: @x": ("yaml-syntax", 1, 4),
    'a: "\\q"': ("yaml-syntax", 1, 5),
    "a: [http://x/]": ("yaml-syntax", 1, 9),
    "a: [,]": ("yaml-syntax", 1, 5),
    "- a\nb: 1": ("yaml-syntax", 2, 1),
    "a: 1\n- b": ("yaml-syntax", 2, 1),
}

REFUSED_BYTES = {
    b"a: 1\nb: \0": ("yaml-control-character", 2, 4),
    b"\xc3\xa9: \x07": ("yaml-control-character", 1, 4),
    b"a: \x7f": ("yaml-control-character", 1, 4),
    b"a: \xc2\x80": ("yaml-control-character", 1, 4),
    b"\xff\xfea\0": ("yaml-encoding", 1, 1),
    b"\0\0\xfe\xff": ("yaml-encoding", 1, 1),
    "a: 1".encode("utf-16-le"): ("yaml-control-character", 1, 2),
    b"a: 1\n\xff": ("yaml-encoding", 2, 1),
    b"\xc3\xa9: \xed\xa0\x80": ("yaml-encoding", 1, 4),
    b"a: x\xe2\x80\xa8b: 1": ("yaml-control-character", 1, 5),
    b"a: \xc2\x85": ("yaml-control-character", 1, 4),
    b"a: \xef\xbb\xbf": ("yaml-control-character", 1, 4),
    "# \u202e".encode(): ("yaml-control-character", 1, 3),
    b"\xef\xbb\xbfa: 1\n\xef\xbb\xbf": ("yaml-control-character", 2, 1),
}


@pytest.mark.parametrize("text", VALUES)
def test_core_schema_values(text):
    reading = read("f.yaml", f"a: {text}\n".encode() if text != "-" else b"a:\n-\n")
    assert reading.problems == ()
    value = reading.documents[0].value["a"]
    assert value == VALUES[text]
    assert type(value) is type(VALUES[text])


@pytest.mark.parametrize("text", REFUSED)
def test_refused_text(text):
    check(text.encode(), REFUSED[text])
    check(text.replace("\n", "\r\n").encode(), REFUSED[text])


@pytest.mark.parametrize("data", REFUSED_BYTES)
def test_refused_bytes(data):
    check(data, REFUSED_BYTES[data])


def check(data, expected):
    reading = read("f.yaml", data)
    first = reading.problems[0]
    assert (first.code, first.origin.line, first.origin.column) == expected
    assert first.hint
    assert first.origin.path == "f.yaml"
    assert reading.broken
    assert reading.documents == ()


def test_every_problem_is_told_and_good_documents_are_kept():
    reading = read("f", b"a: 1\n---\nb: 07\nb: *x\n1: 2\n---\nc: 3\n---\nd: [\n")
    assert [document.value for document in reading.documents] == [{"a": 1}, {"c": 3}]
    assert [problem.code for problem in reading.problems] == ["yaml-number", "yaml-duplicate-key", "yaml-anchor", "yaml-key", "yaml-syntax"]
    assert reading.cut
    assert "first at 3:1" in reading.problems[1].message


def test_recoverable_problems_do_not_cut():
    assert not read("f", b"a: 07\n").cut


def test_empty_documents_are_skipped_but_counted():
    reading = read("f", b"# nothing\n---\n---\n# c\n\na: 1\n---\n...\n---\n- b\n")
    assert [(document.index, document.line) for document in reading.documents] == [(1, 6), (3, 10)]
    for empty in (b"", b"\n", b"# x\n", b"---\n", b"\xef\xbb\xbf", b"--- # x\n...\n"):
        assert read("f", empty) == read("g", b"")


def test_bom_and_crlf():
    reading = read("f", b"\xef\xbb\xbfa: |\r\n  x\r\n  y\r\nb: 1\r\n")
    assert reading.documents[0].value == {"a": "x\ny\n", "b": 1}


def test_vault_value():
    text = "$ANSIBLE_VAULT;1.1;AES256\n6162\n6364\n"
    reading = read("f", b"a: !vault |\n  $ANSIBLE_VAULT;1.1;AES256\n  6162\n  6364\nb: !vault |\n  $ANSIBLE_VAULT;1.2;AES256;prod\n  61\n")
    assert reading.problems == ()
    assert reading.documents[0].value["a"] == {VAULT_KEY: text}
    assert reading.documents[0].value["b"] == {VAULT_KEY: "$ANSIBLE_VAULT;1.2;AES256;prod\n61\n"}


def test_depth():
    assert read("f", b"[" * MAX_DEPTH + b"]" * MAX_DEPTH).problems == ()
    for data in (b"[" * 51 + b"]" * 51, b"[" * 100_000, b"{a: " * 100_000, b"- " * 100_000, b"? " * 100_000, b"[{a: " * 50_000):
        assert [problem.code for problem in read("f", data).problems][-1] == "yaml-too-deep", data[:8]


def test_alias_bomb_costs_nothing():
    bomb = b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(
        b"%c: &%c [%s]\n" % (98 + number, 98 + number, b",".join([b"*%c" % (97 + number)] * 10)) for number in range(12)
    )
    started = time.process_time()
    assert {problem.code for problem in read("f", bomb).problems} == {"yaml-anchor"}
    assert time.process_time() - started < 1


def test_too_many_documents():
    reading = read("f", b"--- a\n" * 10_001)
    assert len(reading.documents) == 10_000
    assert reading.problems[0].code == "yaml-too-large"
    assert reading.problems[0].origin.line == 10_001


def test_too_large():
    reading = read("f", b"#" * (4 * 1024 * 1024 + 1))
    assert reading.problems[0].code == "yaml-too-large"
    assert reading.cut


def test_too_many_problems_end_the_file():
    reading = read("f", b"a: 07\n" * 5000)
    assert len(reading.problems) == 1001
    assert reading.problems[-1].code == "yaml-too-many"
    assert reading.cut
    assert reading.documents == ()


def test_memory_stays_bounded():
    """The worst shapes of 4 MiB, each in its own process; at most 100 bytes of memory for each byte of file.

    getrusage would tell the peak of the process that started it, when that was larger: exec keeps it (getrusage(2), fs/exec.c).
    """
    script = """if True:
        import sys
        from pathlib import Path
        from reconciler.desired.reader import read
        size = 4 * 1024 * 1024
        shapes = {"list": b"ab,", "maps": b"{a: 1},", "bad": b"*a,"}
        item = shapes[sys.argv[1]]
        read("f", b"[" + item * (size // len(item) - 1) + b"]")
        (peak,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:")]
        print(int(peak.split()[1]) // 1024)
    """
    for shape in ("list", "maps", "bad"):
        done = subprocess.run([sys.executable, "-c", script, shape], capture_output=True, text=True, check=True, cwd=ROOT)
        assert int(done.stdout) < 450, shape


def test_five_hundred_hosts_in_one_file():
    host = "apiVersion: octofleet/v1\nkind: Host\nmetadata: {name: h%d, tenant: t}\nspec: {profile: p}\n"
    reading = read("f", "---\n".join(host % number for number in range(500)).encode())
    assert len(reading.documents) == 500
    assert reading.problems == ()


def test_a_syntax_error_says_where_it_began():
    problem = read("f", b"a: 1\nb: [1, 2\nc: 3\n").problems[0]
    assert str(problem) == "f:3:2: a list in [ ] is not closed (it began at 2:4) (add the missing ',' or ']')"
