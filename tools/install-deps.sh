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
# Install the packages of bindep.txt that are missing. Debian and its relatives only.
# Needs nothing but dpkg, apt-get and coreutils, since it runs before there is a Python.
# Nothing is asked for, fetched or written when all are there.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v dpkg-query > /dev/null; then
    echo 'install-deps: not a Debian system; install what bindep.txt names by hand' >&2
    exit 0
fi

missing=()
while read -r package selectors; do
    [[ $selectors == *platform:dpkg* ]] || continue
    status=$(dpkg-query -W -f '${Status}' "$package" 2> /dev/null || true)
    [[ $status == 'install ok installed' ]] || missing+=("$package")
done < <(sed 's/#.*//' bindep.txt)

# The lab unpacks this package as its guest's kernel; it is downloaded, never installed. An
# image without package lists does not know it.
known=$(apt-cache show linux-image-cloud-amd64 2> /dev/null || true)

if [ ${#missing[@]} -eq 0 ] && [ -n "$known" ]; then
    exit 0
fi
if [ "$(id -u)" -ne 0 ]; then
    echo "install-deps: missing: ${missing[*]:-package lists}" >&2
    echo 'install-deps: run make deps as root' >&2
    exit 1
fi

# The lab starts daemons of its own in namespaces of its own; those of the packages must
# not come up beside them. An administrator's policy is left alone.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' > $policy
    chmod 755 $policy
fi

echo "install-deps: installing ${missing[*]:-nothing, only refreshing the lists}"
export DEBIAN_FRONTEND=noninteractive
apt=(apt-get -q -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3)
log=$(mktemp)
if ! { "${apt[@]}" update && "${apt[@]}" install -y --no-install-recommends "${missing[@]}"; } \
    > "$log" 2>&1 < /dev/null; then
    tail -n 40 "$log" >&2
    echo "install-deps: apt-get failed, the whole log is $log" >&2
    exit 1
fi
rm -f "$log"
