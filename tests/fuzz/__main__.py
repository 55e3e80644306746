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
"""``python -m tests.fuzz``: every property of the unit tests, on many more inputs.

    python -m tests.fuzz [--inputs N] [--seed N] [-k EXPRESSION] [--report]

``make test`` tries some hundred inputs on each property that Hypothesis draws inputs for: parsers
of connection_infos, of libvirt's XML, of image headers, of NBD answers, of command lines; and the
state machines. This tries N of them on each, from a seed, and counts. Exit status 0 when all held;
a falsifying input is printed, made as small as Hypothesis can. With ``--report`` the table in the
documentation is written.
"""

from __future__ import annotations

import argparse
import csv
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.fuzz import INPUTS_VARIABLE

ROOT = Path(__file__).resolve().parents[2]
REPORT = ROOT / 'doc/source/contributor/fuzz.csv'
_COUNT = re.compile(r'(\d+) passing, (\d+) failing, and \d+ invalid')


class Tally:
    """Counts, per test, what Hypothesis says that it tried; a plugin of pytest's."""

    def __init__(self) -> None:
        self.inputs: dict[str, int] = {}
        self.failed: set[str] = set()

    def pytest_runtest_teardown(self, item: pytest.Item) -> None:
        """Take what the test's own plugin has left on it."""
        told = getattr(item, 'hypothesis_statistics', '')
        counts = [int(passing) + int(failing) for passing, failing in _COUNT.findall(told)]
        self.inputs[item.nodeid] = sum(counts)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take note of what failed."""
        if report.failed:
            self.failed.add(report.nodeid)

    def rows(self) -> list[tuple[str, str, str]]:
        """A row per test: its name, inputs, and whether it held."""
        return [
            (
                name.removeprefix('tests/unit/'),
                f'{count:,}',
                'failed' if name in self.failed else 'held',
            )
            for name, count in self.inputs.items()
        ]


def main(argv: Sequence[str] | None = None) -> int:
    """Try the inputs; 0 when every property held."""
    parser = argparse.ArgumentParser(
        prog='python -m tests.fuzz',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--inputs', type=int, default=10_000, help='for each property')
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('-k', default='', help='only those that this expression of pytest names')
    parser.add_argument('--report', action='store_true', help=f'write {REPORT.name}')
    options = parser.parse_args(argv)
    os.environ[INPUTS_VARIABLE] = str(options.inputs)
    tally = Tally()
    chosen = ['tests/unit', '-m', 'hypothesis', '-k', options.k]
    quiet = ['-q', '-p', 'no:cacheprovider', f'--hypothesis-seed={options.seed}']
    status = pytest.main([*chosen, *quiet], plugins=[tally])
    if options.report:
        with REPORT.open('w', newline='') as out:
            csv.writer(out, lineterminator='\n').writerows(tally.rows())
    total = sum(tally.inputs.values())
    print(
        f'{len(tally.inputs)} properties, {total:,} inputs, seed {options.seed}, '
        f'{len(tally.failed)} failed'
    )
    return int(status)


if __name__ == '__main__':
    sys.exit(main())
