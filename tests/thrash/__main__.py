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
"""``python -m tests.thrash --seed N --swaps M``: random swaps, random faults, a report.

Brings a lab up, unless it runs in one. A seed that failed is run again with the same command.
Exit status 0 when no promise was broken. ``--merge`` makes one report of several.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from tests.lab.inside import run_inside
from tests.lab.lab import VARIABLE
from tests.thrash.campaign import campaign, merged


def main() -> int:
    """Run a campaign and print its report as JSON."""
    parser = argparse.ArgumentParser(prog='python -m tests.thrash', description=__doc__)
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--swaps', type=int, default=20)
    parser.add_argument('--guests', type=int, default=3, help='guests side by side')
    parser.add_argument('--seconds', type=float, default=float('inf'), help='begin none later')
    parser.add_argument('--report', type=Path, help='write the report to this file as well')
    parser.add_argument('--merge', type=Path, nargs='+', metavar='REPORT', help='and run nothing')
    options = parser.parse_args()
    if options.merge:
        return _tell(merged([json.loads(path.read_text()) for path in options.merge]), options)
    if not os.environ.get(VARIABLE):
        return run_inside(f'thrash-{options.seed}', 'tests.thrash')
    return _tell(campaign(options.seed, options.swaps, options.guests, options.seconds), options)


def _tell(report: dict[str, Any], options: argparse.Namespace) -> int:
    text = json.dumps(report, indent=1, sort_keys=True)
    if options.report:
        options.report.write_text(text + '\n')
    print(text)
    return 1 if report['violations'] else 0


if __name__ == '__main__':
    sys.exit(main())
