"""A file that does not hold what it should is thrown away with a warning, and the plan is right."""

import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from tests.cli.command import quick
from tests.fleets import Repo, Result, fleet, host, repo

CHANGED = host("web-01", 1, spec="  packages: [nano]\n")
BROKEN = "kind: Host\n"
WARNING = "the index is made anew"


def index_of(data: Path) -> Path:
    (found,) = data.glob("index/*.db")
    return found


def altered(file: Path, sql: str, *parameters: object) -> None:
    """Change the index behind Octofleet's back."""
    connection = sqlite3.connect(file)
    connection.execute(sql, parameters)
    connection.commit()
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def parsed_rows(file: Path) -> list[tuple[bytes, bytes]]:
    connection = sqlite3.connect(file)
    rows = connection.execute("SELECT blob, body FROM parsed").fetchall()
    connection.close()
    return rows


@pytest.fixture
def site(tmp_path: Path) -> tuple[Repo, Path]:
    """An applied fleet with one commit more; its index has compiled what was applied."""
    made, data = repo(tmp_path / "repo", fleet(hosts=5)), tmp_path / "data"
    assert quick(data, "apply", "--approve", "--repo", str(made.path)).code == 0
    assert quick(data, "plan", "--repo", str(made.path)).code == 0
    made.commit({"host-1.yaml": CHANGED, "role.yaml": fleet()["role.yaml"].replace("80", "81")})
    return made, data


def plan(site: tuple[Repo, Path], *args: str) -> Result:
    return quick(site[1], "plan", "--json", "--repo", str(site[0].path), *args)


def facts(result: Result) -> object:
    assert result.code in (0, 2, 3), result.text
    return result.code, result.json["id"], [(item["address"], item["causes"]) for item in result.json["changes"]]


def cold(site: tuple[Repo, Path]) -> object:
    """What a plan says on a copy without an index."""
    made, data = site
    copy = data.with_name("copy")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(data, copy, ignore=shutil.ignore_patterns("index"))
    return facts(plan((made, copy)))


def truncated(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2 // 4096 * 4096)


def cut_short(file: Path) -> None:
    os.truncate(file, 50)


def garbage_header(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.write(b"not a database at all")


def garbage(file: Path) -> None:
    file.write_bytes(os.urandom(file.stat().st_size))


def pages_of_noise(file: Path) -> None:
    """All but the header and the schema."""
    with file.open("r+b") as opened:
        opened.seek(4096)
        opened.write(os.urandom(file.stat().st_size - 4096))


def flipped_byte(file: Path) -> None:
    for blob, body in parsed_rows(file):
        altered(file, "UPDATE parsed SET body = ? WHERE blob = ?", body[:-3] + bytes((body[-3] ^ 1,)) + body[-2:], blob)


def other_shape(file: Path) -> None:
    import zlib

    for blob, body in parsed_rows(file):
        other = body[4:5] + msgspec.msgpack.encode([["a", 1], {}])
        altered(file, "UPDATE parsed SET body = ? WHERE blob = ?", zlib.crc32(other).to_bytes(4, "big") + other, blob)


def empty_body(file: Path) -> None:
    altered(file, "UPDATE parsed SET body = x''")


def text_for_bytes(file: Path) -> None:
    altered(file, "UPDATE parsed SET body = 'text'")


def without(table: str) -> Callable[[Path], None]:
    def drop(file: Path) -> None:
        altered(file, f"DROP TABLE {table}")

    drop.__name__ = f"without_{table}"
    return drop


def bad_mark(file: Path) -> None:
    altered(file, "UPDATE about SET value = 'nonsense' WHERE key = 'mark'")


def bad_number(file: Path) -> None:
    altered(file, "UPDATE about SET value = 'many' WHERE key = 'hosts'")


def bad_finding(file: Path) -> None:
    altered(file, "INSERT INTO finding VALUES ('host/shop/web-02', x'c1')")


def misshapen_finding(file: Path) -> None:
    altered(file, "INSERT INTO finding VALUES ('host/shop/web-02', ?)", msgspec.msgpack.encode(["a", "b"]))


def bad_input(file: Path) -> None:
    altered(file, "INSERT INTO secret VALUES ('secret:nonsense', 'x')")


def no_such_blob(file: Path) -> None:
    altered(file, "UPDATE manifest SET blob = x'00'")


def no_such_document(file: Path) -> None:
    altered(file, "UPDATE manifest SET number = 7")


def no_such_member(file: Path) -> None:
    altered(file, "UPDATE manifest SET member = 7 WHERE ref GLOB 'host/*'")


DAMAGE = [
    truncated, cut_short, garbage_header, garbage, pages_of_noise, flipped_byte, other_shape, empty_body, text_for_bytes,
    *map(without, ("about", "parsed", "manifest", "inputs", "used", "identity", "bad", "project", "finding", "orphan", "secret")),
    bad_mark, bad_number, bad_finding, misshapen_finding, bad_input, no_such_blob, no_such_document, no_such_member,
]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
def test_a_damaged_file_is_made_anew(site: tuple[Repo, Path], damage: Callable[[Path], None]) -> None:
    wanted, file = cold(site), index_of(site[1])
    assert not file.with_name(f"{file.name}-wal").exists()
    damage(file)
    found = plan(site)
    assert facts(found) == wanted
    assert WARNING in found.err and str(file) in found.err, found.err
    again = plan(site)
    assert facts(again)[:2] == wanted[:2]  # type: ignore[index]
    assert "index" not in again.err
