#!/bin/sh
# Makes .venv with the first Python that is new enough, and installs this project into it,
# editable, with one of its extras: tools/make_venv.sh dev
#
# What goes wrong is said in one line; pip's own words go to .venv/install.log.
set -eu

extra=$1
log=.venv/install.log

fail() {
    echo "$*" >&2
    exit 1
}

find_python() {
    for python in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
        if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            return
        fi
    done
    fail "pgwire needs Python 3.11 or newer, and ${PYTHON:-python3} is not:" \
        "install one, or name it with PYTHON=/path/to/python3.11"
}

if ! .venv/bin/python -c '' 2>/dev/null; then
    find_python
    # Debian leaves both out of its package python3.
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "$python cannot make virtual environments: apt-get install python3-venv"
    echo "making .venv with $("$python" --version)"
    "$python" -m venv --clear .venv || fail "$python could not make .venv"
fi

echo "installing pgwire[$extra] into .venv"
if ! .venv/bin/python -m pip install --disable-pip-version-check --quiet \
    --editable ".[$extra]" >"$log" 2>&1; then
    reason=$(sed -n 's/^ *ERROR: //p' "$log" | tail -n 1)
    fail "pip could not install pgwire[$extra] (is there a network?): ${reason:-see} ($log)"
fi

touch ".venv/.installed-$extra"
if [ "$extra" = dev ]; then
    touch .venv/.installed-embedded # which is a part of it
fi
