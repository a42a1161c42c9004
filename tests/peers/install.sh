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
    no_server=/etc/postgresql-common/createcluster.d/octofleet-tests.conf # tests start their own; the package shall make and start none
    mkdir -p "${no_server%/*}"
    echo 'create_main_cluster = false' >"$no_server"
    trap 'rm -f "$no_server"' EXIT
    apt-get install -y -qq --no-install-recommends -o Dpkg::Options::=--force-confold $missing >/dev/null
fi
