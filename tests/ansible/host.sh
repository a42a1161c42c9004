#!/bin/sh
# The first process of one host of the lab, which is started in namespaces of its own. All that it writes goes to a layer over this machine's
# files, in memory. Arguments: its directory (in: host_key, authorized_keys; out: pid), its name, the password of its user with sudo (empty: none is asked for).
set -eu
own=$1 name=$2 password=$3
read -r pid _ </proc/self/stat
echo "$pid" >"$own/pid.part"
mv "$own/pid.part" "$own/pid"
mount -t tmpfs -o size=96m,mode=755 tmpfs /mnt
mkdir /mnt/over /mnt/work /mnt/root
mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/over,workdir=/mnt/work /mnt/root
cd /mnt/root
cp "$own/host_key" "$own/authorized_keys" etc/ssh/
mount -t proc proc proc
mount --rbind /dev dev
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
pivot_root . mnt
umount -l /mnt
hostname "$name"
ip link set lo up
echo "127.0.0.1 localhost $name" >/etc/hosts
: >/etc/resolv.conf
echo "deploy:x:1500:1500::/home/deploy:/bin/bash" >>/etc/passwd
echo "deploy:*:19000:0:99999:7:::" >>/etc/shadow
echo "deploy:x:1500:" >>/etc/group
rm -rf /home/deploy
mkdir /home/deploy /run/sshd
chown 1500:1500 /home/deploy
rm -f /etc/sudoers.d/* /usr/sbin/policy-rc.d /sbin/init # Ansible takes a host for one with systemd by this last one
if [ -n "$password" ]; then
    echo "deploy:$password" | chpasswd
    echo "deploy ALL=(ALL:ALL) ALL" >/etc/sudoers.d/deploy
else
    echo "deploy ALL=(ALL:ALL) NOPASSWD: ALL" >/etc/sudoers.d/deploy
fi
cat >/etc/ssh/lab <<END
HostKey /etc/ssh/host_key
AuthorizedKeysFile /etc/ssh/authorized_keys
PidFile /run/sshd.pid
UsePAM no
UseDNS no
PasswordAuthentication no
PermitRootLogin no
MaxStartups 100
Subsystem sftp internal-sftp
END
chmod 600 /etc/ssh/host_key
chown 0:0 /etc/ssh/host_key /etc/ssh/authorized_keys
/usr/sbin/sshd -f /etc/ssh/lab
# What daemons leave behind is waited for, as by any first process.
exec bash -c 'while :; do sleep 3600 & wait; done'
