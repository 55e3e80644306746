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
"""``python -m tests.faults``: every fault in every state of a swap, on real parts.

Brings a lab up, unless it runs in one. What came of each cell is written to a file after each, so
that a run which was interrupted can go on. Exit status 0 when no promise was broken.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from tests.faults.campaign import Report, campaign, chosen
from tests.faults.report import REPORT, summed
from tests.functional.test_zz_secrets import logs, search
from tests.lab.inside import run_inside
from tests.lab.lab import VARIABLE, Lab

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    """Run the cells that are wanted."""
    parser = argparse.ArgumentParser(prog='python -m tests.faults', description=__doc__)
    parser.add_argument('--seed', type=int, default=1, help='which cells a sample draws')
    parser.add_argument('--only', default='', metavar='TEXT', help='part of STATE/FAULT')
    parser.add_argument('--sample', type=int, default=0, metavar='N', help='so many cells')
    parser.add_argument('--guests', type=int, default=3, help='guests side by side')
    parser.add_argument(
        '--resume', action='store_true', help='only what has not held yet, by the file'
    )
    parser.add_argument('--file', type=Path, default=ROOT / 'build' / 'faults.json')
    parser.add_argument('--report', action='store_true', help=f'write {REPORT.name} of the docs')
    options = parser.parse_args()
    if not os.environ.get(VARIABLE):
        return run_inside('faults', 'tests.faults')
    options.file.parent.mkdir(parents=True, exist_ok=True)
    report = Report(options.file, resume=options.resume)
    wanted = chosen(options.only, options.sample, options.seed)
    campaign([one for one in wanted if one.name not in report.told], report.add, options.guests)
    if options.report:
        REPORT.write_text(summed(report.told, options.seed))
    leaks = search(Lab.from_env().secrets(), logs(Lab.from_env()))
    for leak in leaks:
        print(f'P7: {leak}')
    violated = [one for one in report.told.values() if one['result'] != 'held']
    print(f'{len(report.told)} cells, {len(violated)} violated')
    return 1 if violated or leaks or not report.told else 0


if __name__ == '__main__':
    sys.exit(main())
