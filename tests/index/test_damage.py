"""A file that does not hold what it should is thrown away with a warning, and the plan is right."""

import os
import re
import shutil
import sqlite3
import zlib
from collections.abc import Callable
from itertools import starmap
from pathlib import Path

import msgspec
import pytest

from reconciler.desired.packed import unpack_parsed
from reconciler.index import file as index_file
from reconciler.index.file import Damaged
from tests.cli.command import quick
from tests.fleets import Repo, Result, fleet, host, repo

CHANGED = host("web-01", 1, spec="  packages: [nano]\n")
WARNING = "index-reset"


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


def bad_number(file: Path) -> None:
    altered(file, "UPDATE about SET value = 'many' WHERE key = 'hosts'")


def bad_finding(file: Path) -> None:
    altered(file, "INSERT INTO finding VALUES ('host/shop/web-02', x'c1')")


def misshapen_finding(file: Path) -> None:
    altered(file, "INSERT INTO finding VALUES ('host/shop/web-02', ?)", msgspec.msgpack.encode(["a", "b"]))


def bad_input(file: Path) -> None:
    altered(file, "INSERT INTO secret VALUES ('secret:nonsense', 'x')")


def no_such_document(file: Path) -> None:
    altered(file, "UPDATE manifest SET number = 7")


def no_such_member(file: Path) -> None:
    altered(file, "UPDATE manifest SET member = 7 WHERE ref GLOB 'host/*'")


def of_a_type(column: str, value: str) -> Callable[[Path], None]:
    def damage(file: Path) -> None:
        altered(file, f"UPDATE manifest SET {column} = {value} WHERE ref LIKE 'host/%'")

    damage.__name__ = f"{column}_of_another_type"
    return damage


def not_text(file: Path) -> None:
    altered(file, "UPDATE manifest SET identity = CAST(x'ff00fe' AS TEXT) WHERE ref LIKE 'host/%'")


def mark_of_bytes(file: Path) -> None:
    altered(file, "UPDATE about SET value = x'00ff' WHERE key = 'hosts'")


def no_such_blob(file: Path) -> None:
    altered(file, "UPDATE manifest SET blob = randomblob(20) WHERE ref LIKE 'host/%'")


DAMAGE = [
    *starmap(of_a_type, (("path", "x'00'"), ("member", "x'00'"), ("blob", "'text'"), ("identity", "x'00'"))), not_text, mark_of_bytes, no_such_blob,
    truncated, cut_short, garbage_header, garbage, pages_of_noise, flipped_byte, other_shape, empty_body, text_for_bytes,
    *map(without, ("about", "parsed", "manifest", "inputs", "used", "identity", "bad", "project", "finding", "orphan", "secret")),
    bad_number, bad_finding, misshapen_finding, bad_input, no_such_document, no_such_member,
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


def test_a_mark_that_means_nothing_is_no_mark(site: tuple[Repo, Path]) -> None:
    wanted = cold(site)
    altered(index_of(site[1]), "UPDATE about SET value = 'nonsense' WHERE key = 'mark'")
    assert facts(plan(site)) == wanted


@pytest.mark.parametrize("args", [("explain", "host/shop/web-02"), ("render", "shop/web-02"), ("validate",)], ids=lambda args: args[0])
def test_a_command_that_meets_damage_late_works_the_next_time(site: tuple[Repo, Path], args: tuple[str, ...]) -> None:
    made, data = site
    where = ("--repo", str(made.path))
    before = quick(data, *args, *where)
    other_shape(index_of(data))
    first, second = (quick(data, *args, *where) for _ in range(2))
    assert "internal error" not in first.text
    assert (second.code, second.out, second.err) == (before.code, before.out, "")


def other_format(file: Path) -> None:
    altered(file, "PRAGMA user_version=999")


def other_schemas(file: Path) -> None:
    """As another version of Octofleet left it: what it read then must not count now."""
    for blob, body in parsed_rows(file):
        altered(file, "UPDATE parsed SET schemas = schemas + 1, body = ? WHERE blob = ?", body[:4] + b"x", blob)
    altered(file, "UPDATE about SET value = 'x:1' WHERE key = 'contract'")


def other_contract(file: Path) -> None:
    altered(file, "UPDATE about SET value = replace(value, ':', 'x:') WHERE key = 'contract'")
    altered(file, "UPDATE manifest SET open = 0, inputs = NULL")


def cut_off_build(file: Path) -> None:
    """As a process leaves it that ends between compiling a tree and comparing it with the record."""
    altered(file, "DELETE FROM about WHERE key IN ('source', 'mark')")


def no_wal(file: Path) -> None:
    for suffix in ("-wal", "-shm"):
        file.with_name(file.name + suffix).unlink(missing_ok=True)


@pytest.mark.parametrize("change", [other_format, other_schemas, other_contract, cut_off_build, no_wal], ids=lambda change: change.__name__)
def test_what_another_version_or_a_dead_process_left_is_made_anew(site: tuple[Repo, Path], change: Callable[[Path], None]) -> None:
    wanted, file = cold(site), index_of(site[1])
    change(file)
    found = plan(site)
    assert facts(found) == wanted and not found.err
    connection = sqlite3.connect(file)
    about = dict(connection.execute("SELECT key, value FROM about").fetchall())
    connection.close()
    assert about["source"] == "test" and about["mark"]


def test_the_index_of_another_repository_in_its_place(site: tuple[Repo, Path], tmp_path: Path) -> None:
    _, data = site
    other = repo(tmp_path / "other", fleet(hosts=2, fleet=fleet()["fleet.yaml"].replace("test", "other").replace("UTC", "Asia/Tokyo")))
    wanted, file = cold(site), index_of(data)
    assert quick(tmp_path / "elsewhere", "plan", "--repo", str(other.path)).code == 2
    shutil.copyfile(index_of(tmp_path / "elsewhere"), file)
    assert facts(plan(site)) == wanted


def test_nothing_is_pickled() -> None:
    package = Path(index_file.__file__).parent.parent
    for path in (*package.glob("index/*.py"), *package.glob("desired/*.py")):
        for word in ("pickle", "marshal", "shelve", "dill"):
            assert not re.search(rf"\b{word}\b", path.read_text()), path


@pytest.mark.parametrize(
    "body",
    [
        [[["Host", "shop", "web-01", [], 0, 1, {}, "delete", None, False]], [], [], False, []],
        [[["Host", "shop", 7, {}, 0, 1, {}, "delete", None, False]], [], [], False, []],
        [[["Host", "shop", "web-01", {}, 0, 1, {}, "explode", None, False]], [], [], False, []],
        [[["Host", "shop", "web-01", {}, 0, 1, {}, "delete", ["one"], False]], [], [], False, []],
        [[], [[1, 1, "code", "message", "hint", "grave"]], [], False, []],
        [[], [], [["Host", "shop"]], False, []],
        [[], [], [], 1, []],
        {},
        7,
    ],
)
def test_values_are_read_back_with_their_types(body: object) -> None:
    with pytest.raises(Damaged):
        unpack_parsed("a.yaml", b"\2" + msgspec.msgpack.encode(body))


def test_no_secret_is_in_the_file(tmp_path: Path) -> None:
    settings = '[secrets.stores.env]\ntype = "env"\nprefix = "SITE_SECRET_"\ntenants = ["*"]\n'
    data = tmp_path / "data"
    data.mkdir()
    (data / "octofleet.toml").write_text(settings)
    made = repo(tmp_path / "repo", fleet(more=host("web-09", 9, spec="  vars: {p: {secretRef: {store: env, key: DB}}}\n")))
    env = {"SITE_SECRET_DB": "correct horse battery staple"}
    for _ in range(2):
        result = quick(data, "apply", "--approve", "--repo", str(made.path), env=env)
        assert "secret" not in result.err
        stored = b"".join(file.read_bytes() for file in data.glob("index/*"))
        assert b"secret:" in stored and b"DB" in stored
        assert b"correct horse" not in stored
