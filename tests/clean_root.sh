#!/bin/sh
# The README's two commands in a clean root: clean_root.sh [SUITE…], default bookworm. Needs root, mmdebstrap, a Debian machine.
#
# Each suite is unpacked into a folder with git and python3 and nothing else, HEAD is cloned into it, and in a chroot of it
#   ./stacks-tui --record --duration 3 -- python3 …   installs what is missing, and must leave a recording that can be read,
#   ./stacks-tui --self-test -k …                     runs tests, set up the same way.
# The machine's settings for its package registries (apt, pip, certificates, proxies) come along.
#   CLEAN_ROOT=FOLDER  keeps the roots there, and uses those that are there again, as they were left
#   TESTS=EXPRESSION   chooses the tests, as pytest's -k does
set -eu

fail() {
  echo "clean_root.sh: $*" >&2
  exit 1
}

[ "$(id -u)" -eq 0 ] || fail "a root folder can be made by root only; run this with sudo."
command -v mmdebstrap >/dev/null || fail "mmdebstrap is missing; run: apt-get install mmdebstrap"

if [ -z "${CLEAN_ROOT_MOUNTS-}" ]; then # what is mounted below goes with the namespace
  exec env CLEAN_ROOT_MOUNTS=1 unshare --mount --propagation=private "$0" "$@"
fi

repository=$(cd "$(dirname "$0")/.." && pwd)
tests=${TESTS:-text or kinds or ringbuf}
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep '/debian/*$' | sort -u | head -1)
certificates=${PIP_CERT:-${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}}
[ -n "$mirror" ] || fail "no Debian mirror in this machine's apt sources; run this on a Debian machine."

work=${CLEAN_ROOT-}
if [ -n "$work" ]; then
  mkdir -p "$work"
else
  work=$(mktemp -d)
  trap 'umount -R "$work"/*/proc "$work"/*/sys "$work"/*/dev 2>/dev/null || :; rm -rf --one-file-system "$work"' EXIT
fi

make_root() { # SUITE ROOT
  options=
  [ "$1" != sid ] || options='--aptopt=Acquire::Check-Valid-Until "false"'
  mmdebstrap --quiet --variant=apt --mode=root --keyring="$keyring" --include=git,python3 ${options:+"$options"} \
    "$1" "$2" "$mirror"
  # what this machine needs to reach its registries; what isn't there isn't needed
  apt-config dump Acquire >"$2/etc/apt/apt.conf.d/99machine"
  for path in /etc/resolv.conf /etc/pip.conf; do
    [ ! -e "$path" ] || cp -L "$path" "$2$path"
  done
  # beside the distribution's, which a package rewrites when it is installed
  [ ! -e "$certificates" ] || cp -L "$certificates" "$2/etc/machine-certificates.crt"
}

enter() { # ROOT COMMAND…: as a login of root would have it, and the registries' variables
  root=$1
  shift
  set -- HOME=/root LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"
  for name in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY PIP_INDEX_URL PIP_EXTRA_INDEX_URL; do
    value=$(printenv "$name" || :)
    [ -z "$value" ] || set -- "$name=$value" "$@"
  done
  [ ! -e "$root/etc/machine-certificates.crt" ] || set -- PIP_CERT=/etc/machine-certificates.crt "$@"
  chroot "$root" /usr/bin/env -i "$@"
}

try_suite() { # SUITE
  root=$work/$1
  [ -d "$root" ] || make_root "$1" "$root"
  for name in proc sys dev; do mount --rbind "/$name" "$root/$name"; done
  git -C "$repository" bundle create --quiet "$root/root/repository" HEAD "$(git -C "$repository" rev-parse --abbrev-ref HEAD)"
  rm -rf "$root/root/stacks-tui" "$root/root/.local"
  enter "$root" git clone --quiet /root/repository /root/stacks-tui

  enter "$root" sh -ec 'cd /root/stacks-tui
    ./stacks-tui --record --duration 3 -- python3 -c "
import time
end = time.monotonic() + 4
while time.monotonic() < end: sum(range(10**5))"' || fail "$1: the recording failed with status $?."
  manifest=$(find "$root/root" -xdev -name manifest.json)
  [ -f "$manifest" ] || fail "$1: expected one recording, found: ${manifest:-none}"
  folder=${manifest%/manifest.json}
  enter "$root" /root/stacks-tui/.venv/bin/python - "${folder#"$root"}" <<'CHECK' || fail "$1: the recording is not as expected."
import sys
import duckdb

events, seconds, complete = duckdb.connect().execute(
    f"""
    SELECT count(*), sum(e.duration) / 1e9, avg(s.complete::INT)
    FROM '{sys.argv[1]}/events-*.parquet' e LEFT JOIN '{sys.argv[1]}/stacks-*.parquet' s ON s.id = e.ustack
    WHERE e.kind = 'profile' AND e.command = 'python3'
    """
).fetchone()
print(f"{events} samples, {seconds:.2f} s of CPU time, {complete:.1%} with a complete user stack")
sys.exit(not (0.5 < seconds < 4 and complete > 0.95))
CHECK

  enter "$root" sh -ec 'cd /root/stacks-tui; ./stacks-tui --self-test -k "$1"' sh "$tests" ||
    fail "$1: the tests failed with status $?."
  echo "$1: passed"
}

for suite in "${@:-bookworm}"; do try_suite "$suite"; done
