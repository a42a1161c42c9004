"""The laboratory itself: hosts are themselves, nothing of them is on this machine, faults are what they say."""

import os
from pathlib import Path

from tests.ansible.lab import PASSWORD, Lab


def test_hosts_are_apart_and_leave_nothing_behind(tmp_path: Path) -> None:
    with Lab(tmp_path / "lab", hosts=3, asking=[2]) as lab:
        first, second, third = lab.machines.values()
        pids = [machine.pid for machine in lab.machines.values()]
        assert [lab.ssh(machine, "hostname").stdout for machine in (first, second)] == ["node-01\n", "node-02\n"]
        assert lab.ssh(first, "sudo -n id -un").stdout == "root\n" and lab.ssh(second, "sudo -n id -un").returncode == 1
        assert lab.ssh(second, f"printf '%s\\n' \"{PASSWORD}\" | sudo -S -p '' id -un").stdout == "root\n"
        lab.ssh(first, "sudo touch /etc/of-lab /usr/bin/of-lab /var/lib/of-lab; echo mine >~/of-lab")
        assert (
            first.has("/etc/of-lab") and first.has("/usr/bin/of-lab") and not second.has("/etc/of-lab") and not Path("/etc/of-lab").exists()
        )
        assert len({machine.key for machine in lab.machines.values()}) == 3
        third.run("(setsid sleep 999 >/dev/null 2>&1 &)")
    for pid in pids:
        assert not Path(f"/proc/{pid}").exists()
    assert not any(Path(f"/{place}/of-lab").exists() for place in ("etc", "usr/bin", "var/lib", "home/deploy"))
    assert os.path.ismount("/mnt") is False


def test_faults_are_what_they_say_and_pass(tmp_path: Path) -> None:
    with Lab(tmp_path / "lab", hosts=6) as lab:
        lab[1].refuse()
        lab[2].go_silent()
        lab[3].pretend()
        lab[4].fill("/srv")
        lab[5].forbid_sudo()
        lab[6].lose_python()
        assert "Connection refused" in lab.ssh(lab[1], "true").stderr
        assert "timed out" in lab.ssh(lab[2], "true").stderr
        assert "Host key verification failed" in lab.ssh(lab[3], "true").stderr
        assert "No space left" in lab.ssh(lab[4], "sudo dd if=/dev/zero of=/srv/x bs=64k count=1").stderr
        assert lab.ssh(lab[5], "sudo -n true").returncode == 1
        assert lab.ssh(lab[6], "python3 -V").returncode == 127
        for number in (1, 2, 3):
            lab[number].recover()
            assert lab.ssh(lab[number], "true").returncode == 0
