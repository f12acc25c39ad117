#!/bin/sh
# Make .venv what requirements/dev.lock and pyproject.toml say, and do nothing if it is that already.
#
# Every `make` target that needs Python calls this first. It must be quick when there is nothing to
# do, must not believe an environment that was left half made, and must stand being called twice at
# the same time. PYTHON names the interpreter to use, if the first that fits is not the one wanted.
set -eu
cd "$(dirname "$0")/.."

env=.venv
stamp=$env/.complete # Written after the work it vouches for: without it, that was interrupted.
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore

fail() {
    echo "piesd: $*" >&2
    exit 1
}

# The packages are what the lock says, at this path (an environment cannot be moved). The
# interpreter's own version is not asked for: one that is gone shows by not starting.
wanted_packages() {
    pwd
    cksum <requirements/dev.lock
}

# The commands and the metadata of piesd itself are what pyproject.toml says.
wanted_project() {
    cksum <pyproject.toml
}

has() {
    [ -f "$stamp.$1" ] && [ "$(cat "$stamp.$1")" = "$("wanted_$1")" ]
}

complete() {
    has packages && has project && "$env/bin/python" -c '' 2>/dev/null
}

complete && exit 0

[ -w . ] || fail "cannot create $env: $(pwd) is not writable for $(id -un 2>/dev/null || id -u)"

# Only one may build. The lock is on this script, so that nothing is left behind, and the kernel
# drops it when its holder dies, however that happens. Without flock(1) we go on unlocked.
if [ -z "${PIESD_ENV_LOCKED:-}" ] && command -v flock >/dev/null 2>&1; then
    PIESD_ENV_LOCKED=1 exec flock requirements/env.sh requirements/env.sh
fi
complete && exit 0 # The one we waited for has made it.

# A name on PATH says little: a version manager puts names there that do not start.
usable() {
    "$1" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

# Debian leaves ensurepip out unless python3-venv is installed. Then a pip that belongs to the same
# interpreter can install into our environment from outside (since pip 22.3).
has_ensurepip() {
    "$1" -c 'import ensurepip; ensurepip.version()' >/dev/null 2>&1
}

has_pip() {
    "$1" -m pip --python "$1" --version >/dev/null 2>&1
}

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        set -- "$PYTHON"
    else
        set -- python3.11 python3.12 python3.13 python3.14 python3 /usr/bin/python3
    fi
    found=
    # The first that has ensurepip; failing that, the first that has pip.
    for fits in has_ensurepip has_pip; do
        for python; do
            if usable "$python"; then
                found=$python
                if "$fits" "$python"; then return; fi
            fi
        done
    done
    [ -n "$found" ] || fail "cannot find Python 3.11 or later (tried: $*);" \
        "install it, or name it: make PYTHON=/path/to/python3"
    fail "cannot create $env: $found has neither ensurepip nor pip;" \
        "install one of them (Debian: apt install python3-venv)"
}

# The environment has a pip of its own, or none and is filled from outside.
pip() {
    if [ -x "$env/bin/pip" ]; then
        "$env/bin/python" -m pip "$@"
    else
        "$python" -m pip --python "$env/bin/python" "$@"
    fi
}

make_packages() {
    echo "piesd: creating $env with $("$python" --version)"
    rm -f "$stamp".* # First, lest an interrupted removal leave a stamp on what remains.
    rm -rf "$env"
    if has_ensurepip "$python"; then
        "$python" -m venv "$env"
    else
        "$python" -m venv --without-pip "$env"
    fi
    echo "piesd: installing what requirements/dev.lock names"
    pip install --quiet --require-hashes --requirement requirements/dev.lock
    wanted_packages >"$stamp.packages"
}

# Without build isolation: the build backend comes from the lock, like everything else.
make_project() {
    echo "piesd: installing piesd itself, in place"
    rm -f "$stamp.project"
    pip install --quiet --no-deps --no-build-isolation --editable .
    pip check
    wanted_project >"$stamp.project"
}

find_python
if ! { has packages && "$env/bin/python" -c '' 2>/dev/null; }; then
    make_packages
fi
make_project
