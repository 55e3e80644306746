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
"""Brings a lab up, measures in it, and writes the report.

    python -m tests.bench [--quick] [--rounds N] [--size MIB] [--out DIRECTORY]

All contenders run in one run, interleaved, on volumes made for each copy. Times are compared
round by round. It is no test: nothing passes or fails by a time.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from pathlib import Path
from typing import Any

from tests.bench.cases import CONTENTS, MIB, PAIRS, Bench, Case
from tests.bench.report import Report
from tests.lab.inside import run_inside
from tests.lab.lab import VARIABLE, Lab
from tests.lab.namespace import REPOSITORY

#: Sizes in MiB, and rounds; quick is at most 5 minutes on 2 cores.
_SIZE, _QUICK_SIZE = 1024, 256
_ROUNDS, _QUICK_ROUNDS = 5, 3


def main() -> int:
    """Measure; 0 when all was measured."""
    parser = argparse.ArgumentParser(
        prog='python -m tests.bench',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--quick', action='store_true', help='full and nearly empty volumes only')
    parser.add_argument('--rounds', type=int, help='of each case')
    parser.add_argument('--size', type=int, help='of a volume, in MiB')
    parser.add_argument('--out', type=Path, default=REPOSITORY / 'build' / 'bench')
    options = parser.parse_args()
    if not os.environ.get(VARIABLE):
        return run_inside('bench', 'tests.bench')
    rounds = options.rounds or (_QUICK_ROUNDS if options.quick else _ROUNDS)
    size = (options.size or (_QUICK_SIZE if options.quick else _SIZE)) * MIB
    bench = Bench(Lab.from_env())
    bench.run(_cases(size, quick=options.quick), rounds)
    report = Report(bench.samples, _about(bench.lab, rounds))
    report.write(options.out)
    print(report.text())
    return 0


def _cases(size: int, *, quick: bool) -> list[Case]:
    contents = ('full', 'nearly empty') if quick else tuple(CONTENTS)
    cases = [Case(*pair, content, False, size) for pair in PAIRS for content in contents]
    writing = PAIRS[1:2] if quick else PAIRS
    return cases + [Case(*pair, 'full', True, size) for pair in writing]


def _about(lab: Lab, rounds: int) -> dict[str, Any]:
    connection = lab.connect()
    libvirt, qemu = connection.getLibVersion(), connection.getVersion()
    return {
        'libvirt': f'{libvirt // 1_000_000}.{libvirt // 1000 % 1000}.{libvirt % 1000}',
        'QEMU': f'{qemu // 1_000_000}.{qemu // 1000 % 1000}.{qemu % 1000}',
        'Python': platform.python_version(),
        'cores': os.cpu_count(),
        'rounds': rounds,
    }


if __name__ == '__main__':
    sys.exit(main())
