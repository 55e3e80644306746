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
"""Run the tests and count them: ``python -m tests.run [unit] [functional]``.

Each suite is a pytest of its own that writes ``build/junit/SUITE.xml``; the functional one
runs inside a lab that is brought up for it and taken down afterwards. The last line printed
is ``N passed, N failed``. An error counts as failed, and so does a skipped test, since what
did not run proves nothing. A suite that leaves no report, or that ran no test, or whose
pytest ended in any other way than by passing or failing tests, counts as one failure more.

Exit status: 0 when at least one test ran and all passed, else 1.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lxml import etree

from tests.lab.layout import Layout

ROOT = Path(__file__).resolve().parent.parent
REPORTS = ROOT / 'build' / 'junit'
LAB_NAME = 'test'
LAB = (sys.executable, '-m', 'tests.lab', '--name', LAB_NAME)
#: What a failed run leaves of its lab: the daemons' logs and the tests' artefacts.
REMAINS = ROOT / 'build' / 'lab'
#: Seconds that a suite may take; a hanging one must still end in a count.
DEADLINES = {'unit': 900.0, 'functional': 2100.0}


@dataclass(frozen=True, slots=True)
class Count:
    """How many tests passed, and how many did anything else."""

    passed: int = 0
    failed: int = 0

    def __add__(self, other: Count) -> Count:
        return Count(self.passed + other.passed, self.failed + other.failed)

    def __str__(self) -> str:
        return f'{self.passed} passed, {self.failed} failed'


def count(report: Path) -> Count:
    """Count the test cases of a junit report; a missing or broken report is one failure."""
    try:
        cases = list(etree.parse(report).iter('testcase'))
    except (OSError, etree.XMLSyntaxError):
        return Count(failed=1)
    passed = sum(not len(case.xpath('failure|error|skipped')) for case in cases)
    return Count(passed, len(cases) - passed)


def verdict(status: int, counted: Count) -> Count:
    """Add a failure when pytest's exit status is not explained by the counted tests.

    :param status: pytest's, 0 for passed and 1 for failed tests; anything else, a signal
        or a deadline (negative) means that the report does not tell the whole.
    """
    explained = status in (0, 1) and counted.passed + counted.failed > 0
    if explained and (status == 0 or counted.failed):
        return counted
    return counted + Count(failed=1)


def call(argv: Sequence[str], *, timeout: float) -> int:
    """Run a command in a process group of its own; return its status, or -9 at the deadline."""
    with subprocess.Popen(
        argv, cwd=ROOT, stdin=subprocess.DEVNULL, start_new_session=True
    ) as process:
        try:
            return process.wait(timeout)
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            print(f'tests.run: killed after {timeout:.0f} s: {" ".join(argv)}', flush=True)
            return -signal.SIGKILL


def pytest_argv(suite: str, extra: Sequence[str]) -> list[str]:
    """Return the command that runs one suite."""
    argv = [sys.executable, '-m', 'pytest', f'tests/{suite}', '-q', '--durations=10']
    argv += ['-o', 'faulthandler_timeout=600', f'--junitxml={REPORTS / suite}.xml']
    return argv + list(extra)


def keep_remains() -> None:
    """Copy the lab's logs and artefacts to where they outlive the lab."""
    layout = Layout.of(LAB_NAME)
    shutil.rmtree(REMAINS, ignore_errors=True)
    for folder in (layout.logs, layout.artefacts):
        with contextlib.suppress(OSError, shutil.Error):
            shutil.copytree(folder, REMAINS / folder.name, ignore_dangling_symlinks=True)
    print(f'tests.run: logs and artefacts are in {REMAINS.relative_to(ROOT)}', flush=True)


def run_suite(suite: str, extra: Sequence[str]) -> Count:
    """Run one suite, in the lab if it needs one, and count it."""
    report = REPORTS / f'{suite}.xml'
    report.unlink(missing_ok=True)
    argv = pytest_argv(suite, extra)
    if suite == 'unit':
        return verdict(call(argv, timeout=DEADLINES[suite]), count(report))
    # What an interrupted run left is taken down first, so that each run starts alike.
    call([*LAB, 'down'], timeout=120)
    try:
        counted = Count(failed=1)
        if call([*LAB, 'up'], timeout=300) == 0:
            status = call([*LAB, 'run', '--', *argv], timeout=DEADLINES[suite])
            counted = verdict(status, count(report))
        else:
            print('tests.run: the lab did not come up', flush=True)
        if counted.failed:
            keep_remains()
        return counted
    finally:
        call([*LAB, 'down'], timeout=120)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the suites that were asked for, all by default."""
    parser = argparse.ArgumentParser(prog='python -m tests.run', description=__doc__)
    parser.add_argument('suites', nargs='*', choices=[*DEADLINES, []], help='all by default')
    parser.add_argument('-k', metavar='EXPRESSION', help="pytest's: only these tests")
    options = parser.parse_args(argv)
    # Being terminated takes the lab down as an interrupt does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    suites = options.suites or list(DEADLINES)
    if options.suites == list(DEADLINES) or not options.suites:
        shutil.rmtree(REPORTS, ignore_errors=True)
    REPORTS.mkdir(parents=True, exist_ok=True)
    extra = ['-k', options.k] if options.k else []

    total = Count()
    for suite in suites:
        started = time.monotonic()
        counted = run_suite(suite, extra)
        print(f'{suite}: {counted}, {time.monotonic() - started:.0f} s', flush=True)
        total += counted
    print(total, flush=True)
    return 1 if total.failed or not total.passed else 0


if __name__ == '__main__':
    sys.exit(main())
