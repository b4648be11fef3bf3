#!/usr/bin/env bash
# Sets up what is missing: Java 17, redis-server, zstd, libarchive and (for root) Postfix from the system, and .venv
# from locked versions. Idempotent, and quick when nothing is missing. Add --with-postgresql to have the server that tests can use.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf 'setup: %s\n' "$*" >&2; }

java_is_new_enough() {
    local version
    version=$(java -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p' | head -n 1)
    [ -n "$version" ] && [ "$version" -ge 17 ]
}

missing=()
java_is_new_enough || missing+=(openjdk-17-jre-headless)
command -v redis-server >/dev/null || missing+=(redis-server)
command -v zstd >/dev/null || missing+=(zstd)
# For tests alone, which root runs: they start a Postfix of their own, and skip where there is none.
[ "$(id -u)" -ne 0 ] || [ -x /usr/lib/postfix/sbin/master ] || missing+=(postfix)
# For tests alone, which start one of their own and skip where there is none; its package starts none.
[ "$(id -u)" -ne 0 ] || command -v rspamd >/dev/null || missing+=(rspamd)
# Newer releases call it libarchive13t64, which provides this name.
has_libarchive() {
    local place
    for place in /usr/lib/*/libarchive.so.13 /usr/lib/libarchive.so.13 /usr/lib64/libarchive.so.13 /lib/*/libarchive.so.13; do
        [ -e "$place" ] && return
    done
    return 1
}
has_libarchive || missing+=(libarchive13)
if [ "${1:-}" = "--with-postgresql" ] && ! ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1; then
    missing+=(postgresql)
fi

if [ "${#missing[@]}" -gt 0 ]; then
    as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then as_root=(sudo -n); else as_root=(false); fi
    fi
    if ! command -v apt-get >/dev/null || [ "${as_root[0]:-}" = false ]; then
        say "these packages are missing and cannot be installed without root: ${missing[*]}"
        say "install them as root, for example: apt-get update && apt-get install -y ${missing[*]}"
        exit 1
    fi
    say "installing ${missing[*]}"
    # Packages start servers of their own on install; we use none of them, so none is started.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
        "${as_root[@]}" chmod 755 "$policy"
        trap '"${as_root[@]}" rm -f "$policy"' EXIT
    fi
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

# Whether an interpreter was built with profile-guided optimisation, as those of distributions and images are and one that
# is compiled by hand is not, decides a sixth of what a message costs. Where there are several, the fastest is taken.
is_usable() {
    "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null
}
loop_microseconds() {
    "$1" -c '
import time
def spin():
    began = time.process_time()
    for i in range(30_000):
        len(("a%d" % i).split("1"))
    return time.process_time() - began
print(int(1e6 * min(spin() for _ in range(7))))'
}
python=
least=
candidates=(python3.11 /usr/local/bin/python3.11 /usr/bin/python3.11 python3)
[ -z "${PYTHON:-}" ] || candidates=("$PYTHON")
for candidate in "${candidates[@]}"; do
    command -v "$candidate" >/dev/null && is_usable "$candidate" || continue
    took=$(loop_microseconds "$candidate")
    # The first that is found is kept unless another is faster by more than a measurement's error.
    if [ -z "$python" ] || [ "$((took * 10))" -lt "$((least * 9))" ]; then
        python=$candidate
        least=$took
    fi
done
if [ -z "$python" ]; then
    say "none of ${candidates[*]} is a Python 3.11 with its venv module; on Debian or Ubuntu: apt-get install python3.11 python3.11-venv"
    exit 1
fi

wanted=$(cat pyproject.toml infra/constraints.txt | sha256sum | cut -d' ' -f1)
if [ "$(cat .venv/.mailwarden-setup 2>/dev/null || true)" != "$wanted" ]; then
    say "installing locked Python packages into .venv (some minutes the first time)"
    [ -x .venv/bin/python ] || "$python" -m venv .venv
    .venv/bin/python -m pip install --quiet --disable-pip-version-check -c infra/constraints.txt -e '.[dev]'
    printf '%s' "$wanted" > .venv/.mailwarden-setup
fi
