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
"""A small run's results, made up."""

from __future__ import annotations

from tests.bench.cases import LIMIT, LIMITED, NOVA, OURS, RESIDENT, SPARSE, VIRSH, Case, Sample
from tests.bench.results import Results
from tests.bench.tuned import QEMU, Setting

GIB = 1 << 30
FULL = Case('nfs', 'rbd', 'full', False, 4 * GIB)
EMPTY = Case('nfs', 'rbd', 'nearly empty', False, 4 * GIB)
WRITES = Case('nfs', 'rbd', 'full', True, 4 * GIB)
SECONDS = {LIMIT: 1.0, VIRSH: 4.0, NOVA: 3.0, OURS: 2.0, RESIDENT: 1.0}


def results(rounds: int = 6) -> Results:
    """Six rounds, each slower than the last by as much as the first took."""
    found = Results({'libvirt': '9.0.0', 'cores': 2})
    for number in range(rounds):
        for by, seconds in SECONDS.items():
            one = Sample(FULL, by, number, seconds * (number + 1), 4 * GIB, 4 * GIB)
            if by != LIMIT:
                one.request_s, one.pivot_s = 0.004 * seconds, 0.020
                one.cpu_s, one.peak_kib = 0.5, 60 << 10
                one.before_s, one.copy_s = 0.25, 0.5 * one.seconds
            one.read, one.written = 4 * GIB, 4 * GIB
            one.load = {'copier': 4.0, 'source': 1.0, 'busy': 6.0, 'waiting': 0.1}
            found.samples.append(one)
            empty = Sample(EMPTY, by, number, seconds / 2, GIB, GIB // 16)
            found.samples.append(empty)
            if by != LIMIT:
                busy = Sample(WRITES, by, number, 2.0)
                busy.longest_us, busy.p999_us, busy.idle_p999_us = 90000, 8000, 5000
                busy.writes, busy.idle_writes_s = 500, 500.0
                found.samples.append(busy)
            for size in (1, 32):
                sparse = Case('file', 'rbd', SPARSE, False, size * GIB)
                found.samples.append(Sample(sparse, by, number, seconds, 16 << 20, 16 << 20))
        for setting, seconds in ((QEMU, 2.0), (Setting(64, 64), 1.5)):
            one = Sample(FULL, str(setting), number, seconds + 1.0)
            one.copy_s = seconds
            found.samples.append(one)
        limited = Sample(FULL, LIMITED, number, 66.0)
        limited.copy_s, limited.eta = 65.0, 0.8
        found.samples.append(limited)
        found.starts.append({'help_s': 0.3, 'import_s': 0.010, 'names_s': 0.050})
        for swaps in (1, 8):
            found.beside.append(
                {
                    'swaps': swaps,
                    'seconds': 20.0,
                    'threads': [10.0 + swaps],
                    'peak_kib': (70 + swaps) << 10,
                    'rss_kib': [(60.0 + swaps) * 1024],
                    'cpu_percent': [0.4 * swaps],
                    'latency_ms': [2.0],
                    'errors': [],
                }
            )
    return found
