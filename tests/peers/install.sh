#!/bin/sh
# Installs the Debian packages that tests drive, when this user may; otherwise says what is missing. PEERS=0 leaves the system alone.
set -eu
packages=$(sed 's/#.*//' "$(dirname "$0")/packages.txt" | tr '\n' ' ')
missing=""
for package in $packages; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing="$missing $package"
done
if [ "${PEERS:-1}" != 0 ] && [ "$(id -u)" = 0 ] && ! apt-cache show cloud-init >/dev/null 2>&1; then
    apt-get update -qq || true # tests download one package without installing it
fi
if [ -z "$missing" ]; then
    echo "==> peers: all installed"
elif [ "${PEERS:-1}" = 0 ]; then
    echo "==> peers: left alone (PEERS=0); tests that need these are skipped:$missing"
elif [ "$(id -u)" != 0 ]; then
    echo "==> peers: not root, so tests that need these are skipped; to run them: sudo apt-get install$missing"
else
    echo "==> peers: installing$missing"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq || true
    # Tests start servers of their own: the packages shall make and start none, neither now nor at the next boot.
    ours=/etc/postgresql-common/createcluster.d/octofleet-tests.conf
    mkdir -p "${ours%/*}"
    echo 'create_main_cluster = false' >"$ours"
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
        ours="$ours $policy"
    fi
    trap 'rm -f $ours' EXIT
    apt-get install -y -qq --no-install-recommends -o Dpkg::Options::=--force-confold $missing >/dev/null
    for service in etcd-server:etcd haproxy:haproxy nginx:nginx patroni:patroni; do
        case " $missing " in *" ${service%:*} "*) systemctl --quiet disable "${service#*:}" 2>/dev/null || true ;; esac
    done
fi
