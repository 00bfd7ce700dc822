#!/bin/sh
# Set up .venv with the given extras, and tools if asked: ./setup.sh embedded,worker [browser] [gettext]
# Does nothing when pyproject.toml and constraints.txt are as they were the last time.
set -eu
cd "$(dirname "$0")"
extras=$1
shift
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore DEBIAN_FRONTEND=noninteractive

give_up() { printf '%s\n' "$@" >&2; exit 1; }

can_apt() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; }

apt_install() { { apt-get update -q && apt-get install -q -y --no-install-recommends "$@"; } >/dev/null; }

find_python() {
    for candidate in "${PYTHON:-}" python3 python3.13 python3.12 python3.11; do
        if [ -n "$candidate" ] && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    give_up "Tiebreak needs Python 3.11 or newer, and there is none on the PATH." \
        "Install one (Debian 12, Ubuntu 24.04: apt-get install python3-venv), or name it: make PYTHON=/path/to/python3 …"
}

make_venv() {
    python=$(find_python)
    echo "Making .venv with $("$python" --version)."
    "$python" -m venv --clear .venv >/dev/null 2>&1 && return
    # Debian leaves ensurepip out of python3. Another pip can fill the environment, and apt can bring what is missing.
    if "$python" -m pip --version >/dev/null 2>&1; then
        "$python" -m venv --clear --without-pip .venv
        "$python" -m pip --python .venv/bin/python install -q pip && return
    elif can_apt && apt_install python3-venv; then
        "$python" -m venv --clear .venv && return
    fi
    rm -rf .venv
    give_up "Python's venv module is not complete. Install it (Debian, Ubuntu: apt-get install python3-venv) and try again."
}

install_packages() {
    wanted="$(cat pyproject.toml constraints.txt | cksum) $(.venv/bin/python --version)"
    # What was installed with more extras will do: one list begins with the other.
    if ! cat ".venv/.installed-$extras"* 2>/dev/null | grep -qxF "$wanted"; then
        echo "Installing packages into .venv; the first time this takes minutes."
        .venv/bin/python -m pip install -q -c constraints.txt -e ".[$extras]" -e ./client ||
            give_up "The packages could not be installed; pip says above why. Is the package index reachable?"
        echo "$wanted" >".venv/.installed-$extras"
    fi
}

has_browser() { chromium --version >/dev/null 2>&1; }

install_browser() {
    has_browser && return
    echo "Installing Chromium for the browser tests."
    if can_apt && apt_install chromium && has_browser; then return; fi
    if can_apt; then
        .venv/bin/playwright install --with-deps chromium
    else
        .venv/bin/playwright install chromium
    fi || give_up "Chromium could not be installed. Install it with your package manager and try again."
}

has_gettext() { xgettext --version >/dev/null 2>&1; }

# Only catalogues are made and checked with it, so that the rest goes on without.
install_gettext() {
    has_gettext && return
    echo "Installing GNU gettext for the catalogues of translations."
    if can_apt && apt_install gettext && has_gettext; then return; fi
    echo "GNU gettext could not be installed. Install it with your package manager (Debian, Ubuntu: apt-get install gettext)." >&2
}

.venv/bin/python -c '' 2>/dev/null || make_venv
install_packages
for tool in "$@"; do "install_$tool"; done
