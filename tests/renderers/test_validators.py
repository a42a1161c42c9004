"""Every rendered case passes the real validator of its format; each validator refuses a broken file."""

from __future__ import annotations

import subprocess

import pytest

from renderers.registry import RENDERERS
from tests.conftest import program
from tests.renderers import readers
from tests.renderers.cases import CASES, GRACE

VERSIONS = {"rocky-uefi-dhcp": "RHEL9", "almalinux-bios-vlan": "RHEL8", "fedora-uefi-btrfs": "F42"}


def served(format: str) -> list[str]:
    found = [name for name, values in CASES.items() if RENDERERS[format].serves(values)]
    assert found, f"no case has a {format}"
    return found


@pytest.mark.parametrize("case", served("kickstart"))
def test_kickstart_is_accepted_by_pykickstart(case: str) -> None:
    handler = readers.read_kickstart(RENDERERS["kickstart"].render(CASES[case]), VERSIONS[case])
    users = {user.name: user for user in handler.user.userList}
    assert users["ada"].gecos == "Ada Lovelace" and users["ada"].uid == 1500 and users["ada"].lock and "ops" in users["ada"].groups
    assert users["grace"].password == GRACE["hashed_passwd"] and users["grace"].isCrypted and not users["grace"].lock
    assert handler.bootloader.appendLine == "console=ttyS0,115200 nosmt"
    assert handler.network.network[0].hostname == CASES[case]["fqdn"]
    mounts = {part.mountpoint for part in (*handler.partition.partitions, *handler.logvol.lvList, *getattr(handler.btrfs, "btrfsList", []))}
    assert "/" in mounts and ("/boot/efi" in mounts) == ("uefi" in case)


def test_pykickstart_refuses_a_broken_kickstart() -> None:
    from pykickstart.errors import KickstartError

    good = RENDERERS["kickstart"].render(CASES["rocky-uefi-dhcp"])
    for broken in (good.replace(b"zerombr", b"zeromrb"), good.replace(b"--utc", b"--utd"), good.replace(b"%end", b"", 1)):
        with pytest.raises(KickstartError):
            readers.read_kickstart(broken, "RHEL9")


@pytest.mark.parametrize("case", served("kickstart"))
def test_shell_sections_of_a_kickstart_parse(case: str) -> None:
    handler = readers.read_kickstart(RENDERERS["kickstart"].render(CASES[case]), VERSIONS[case])
    assert handler.scripts
    for script in handler.scripts:
        assert subprocess.run(["sh", "-n"], input=script.script.encode(), check=False).returncode == 0


@pytest.mark.parametrize("case", served("preseed"))
def test_preseed_is_accepted_by_debconf(case: str) -> None:
    text = RENDERERS["preseed"].render(CASES[case])
    assert readers.check_preseed(text) == ""
    for _owner, question, _type, value in readers.read_preseed(text):
        if question.endswith("_command"):
            assert subprocess.run(["sh", "-n", "-c", value], check=False).returncode == 0


def test_debconf_refuses_a_broken_preseed() -> None:
    good = RENDERERS["preseed"].render(CASES["debian-bios-lvm-static"])
    assert "Unknown type" in readers.check_preseed(good.replace(b" boolean ", b" bolean ", 1))
    assert "parse error" in readers.check_preseed(good + b"d-i lonely\n")


@pytest.mark.parametrize("case", served("grub"))
def test_grub_is_accepted_by_grub_script_check(case: str) -> None:
    assert readers.check_grub(RENDERERS["grub"].render(CASES[case])) == 0


def test_grub_script_check_refuses_a_broken_script() -> None:
    good = RENDERERS["grub"].render(CASES["debian-bios-lvm-static"])
    assert readers.check_grub(good.replace(b"}\n", b"\n")) != 0
    assert readers.check_grub(good + b"echo 'open\n") != 0


@pytest.mark.parametrize("case", served("ipxe"))
def test_ipxe_reads_as_meant(case: str) -> None:
    commands = readers.read_ipxe(RENDERERS["ipxe"].render(CASES[case]))
    assert [command[0] for command in commands].count("kernel") == 1
    assert ["goto", "failed"] in commands


@pytest.mark.parametrize(
    "broken",
    [
        b"#!ipxe\nkernle x\n",
        b"#!ipxe\nkernel ${gone}\n",
        b"#!ipxe\nkernel x #y\n",
        b"#!ipxe\ngoto nowhere\n",
        b"#!ipxe\necho a \\\n",
        b"kernel x\n",
    ],
)
def test_the_ipxe_lint_refuses_a_broken_script(broken: bytes) -> None:
    with pytest.raises(AssertionError):
        readers.read_ipxe(broken)


@pytest.mark.parametrize("case", served("user-data"))
def test_user_data_fits_the_schema_of_cloud_init(case: str) -> None:
    text = RENDERERS["user-data"].render(CASES[case])
    assert text.startswith(b"#cloud-config\n")
    assert readers.check_cloud_config(readers.read_yaml(text)) == []


def test_the_schema_of_cloud_init_refuses_a_broken_document() -> None:
    assert readers.check_cloud_config({"packages": 3})
    assert readers.check_cloud_config({"pakages": ["vim"]}) == ["unknown key pakages"]


@pytest.mark.parametrize("case", served("network-config"))
def test_network_config_is_netplan(case: str) -> None:
    assert readers.check_netplan(readers.read_yaml(RENDERERS["network-config"].render(CASES[case]))) == []


@pytest.mark.parametrize(
    "broken",
    [
        {"version": 1, "ethernets": {}},
        {"version": 2, "ethernets": {"a": {"dhcp5": True}}},
        {"version": 2, "ethernets": {"a": {"addresses": ["10.0.0.1"]}}},
        {"version": 2, "ethernets": {}, "vlans": {"a.1": {"id": 1, "link": "a"}}},
    ],
)
def test_the_netplan_lint_refuses_a_broken_tree(broken: dict[str, object]) -> None:
    assert len(readers.check_netplan(broken)) == 1


@pytest.mark.parametrize("case", served("autoinstall"))
def test_autoinstall_is_what_the_reference_knows(case: str) -> None:
    tree = readers.read_yaml(RENDERERS["autoinstall"].render(CASES[case]))
    assert list(tree) == ["autoinstall"]
    assert readers.check_autoinstall(tree["autoinstall"]) == []
    assert readers.check_cloud_config(tree["autoinstall"]["user-data"]) == []
    for command in tree["autoinstall"].get("late-commands", []):
        assert subprocess.run(["sh", "-n", "-c", command], check=False).returncode == 0


def test_the_autoinstall_lint_refuses_a_broken_tree() -> None:
    tree = readers.read_yaml(RENDERERS["autoinstall"].render(CASES["ubuntu-uefi-match"]))["autoinstall"]
    assert readers.check_autoinstall({**tree, "late_commands": []}) == ["unknown key late_commands"]
    config = tree["storage"]["config"]
    assert readers.check_autoinstall({**tree, "storage": {"config": config[1:]}})
    assert readers.check_autoinstall({**tree, "storage": {"config": [{**config[0], "serail": "x"}, *config[1:]]}})


def test_meta_data_beside_autoinstall_is_where_the_seed_url_points() -> None:
    values = CASES["ubuntu-uefi-match"]
    command = next(line for line in readers.read_ipxe(RENDERERS["ipxe"].render(values)) if line[0] == "kernel")
    seed = next(word for word in command if word.startswith("ds=")).split("s=")[-1]
    base = f"{values['boot']['url']}/{values['tenant']}/{values['name']}/"
    assert {seed + name for name in ("user-data", "meta-data")} == {
        base + renderer.filename for renderer in RENDERERS.values() if renderer.filename.startswith("autoinstall/")
    }


def test_the_disk_is_found_by_match_in_a_real_shell(tmp_path: object) -> None:
    program("sh", "dash")
    values = CASES["debian-uefi-match-vlan"]
    text = next(value for _o, question, _t, value in readers.read_preseed(RENDERERS["preseed"].render(values)) if "early" in question)
    fake = {"sda": (100, 0, "S4EV1"), "sdb": (50, 0, "S4EV2"), "sdc": (10, 1, "S4EV3"), "sdd": (20, 0, "OTHER"), "loop0": (1, 0, "S4EV9")}
    for name, (size, rotational, serial) in fake.items():
        path = tmp_path / "block" / name  # type: ignore[operator]
        (path / "queue").mkdir(parents=True)
        for file, content in (("size", size), ("removable", 0), ("ro", 0), ("queue/rotational", rotational), ("serial", serial)):
            (path / file).write_text(f"{content}\n")
    script = text.replace("/sys/block", f"{tmp_path}/block")
    fakes = f'udevadm() {{ echo "ID_SERIAL_SHORT=$(cat {tmp_path}/block/${{3##*/}}/serial)"; }}; debconf_set() {{ echo "$@"; }}; '
    done = subprocess.run(["sh", "-c", fakes + script.replace("debconf-set ", "debconf_set ")], capture_output=True, text=True, check=True)
    assert done.stdout == "partman-auto/disk /dev/sdb\ngrub-installer/bootdev /dev/sdb\n"
    done = subprocess.run(["sh", "-c", fakes + script.replace("S4EV", "none")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "no disk matches\n")
