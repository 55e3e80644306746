#!/bin/bash
# Copyright the Blockmirror contributors
#
# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.
#
# Create .venv and install the package into it, editable, with all extras. Does nothing when
# neither the package's metadata nor the interpreter nor the folder's place has changed.
set -euo pipefail
cd "$(dirname "$0")/.."

min='import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))'
python=
for candidate in ${PYTHON:-} python3 /usr/bin/python3 python3.13 python3.12 python3.11; do
    if "$candidate" -c "$min" 2> /dev/null; then
        python=$candidate
        break
    fi
done
if [ -z "$python" ]; then
    echo 'make-venv: no python3 of 3.11 or later that has venv' >&2
    exit 1
fi

# Two makes at a time would install into each other's half-made venv.
exec 9> .venv.lock
flock 9

base=$("$python" -c 'import os, sys; print(os.path.realpath(sys.executable), sys.version)')
want=$({ pwd -P; echo "$base"; cat pyproject.toml setup.cfg setup.py; } | sha256sum)
stamp=.venv/.stamp
if [ -x .venv/bin/python ] && [ "$(cat $stamp 2> /dev/null)" = "$want" ]; then
    exit 0
fi

# Versions come from git tags; a tree without git's data (an archive) still installs.
git rev-parse --is-inside-work-tree > /dev/null 2>&1 || export PBR_VERSION=${PBR_VERSION:-0.0.1}

echo 'make-venv: installing the package and its tools into .venv'
rm -f $stamp
# One that an older build left in the tree goes before the installed one, with its entry points.
rm -rf ./*.egg-info
# A venv that was moved or copied here has scripts which start another place's Python.
if ! .venv/bin/python -c "$min" 2> /dev/null ||
    [[ $(head -n 1 .venv/bin/pip) != "#!$(pwd -P)/.venv/bin/python"* ]]; then
    "$python" -m venv --clear .venv
fi
log=$(mktemp)
if ! .venv/bin/python -m pip install --disable-pip-version-check --retries 5 \
    -e '.[cli,castellan,test,lint,docs]' > "$log" 2>&1 < /dev/null; then
    tail -n 40 "$log" >&2
    echo "make-venv: pip failed, the whole log is $log" >&2
    exit 1
fi
rm -f "$log"
echo "$want" > $stamp
