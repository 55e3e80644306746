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
"""Runs the tests and counts them.

Each suite is one pytest or more, which write ``build/junit/SUITE*.xml``:

unit        in the project's virtualenv
openstack   unit tests against Nova's and Cinder's own classes, in the virtualenv of tests.cloud
functional  two side by side, which share the tests out between them, each in a lab of its own;
            what the second prints is shown when it is over; without what is marked ``campaign``,
            unless named by -k
thorough    the same with all of them; only when asked for
cloud       in a lab with a real Nova, Cinder and all that they need
campaign    the same, with the tests beside that take too long for each run; only when asked for

unit and openstack keep one processor busy each, so they run side by side too, when both are to
run; openstack tells what it has to say when unit is over.

A lab is brought up for its suite and taken down afterwards. The last line printed is
``N passed, N failed``. An error counts as failed, and so does a skipped test, since what did
not run proves nothing. A suite that leaves no report, or that ran no test, or whose pytest ended
in any other way than by passing or failing tests, counts as one failure more.

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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lxml import etree

from tests.cloud.environment import SERVICES
from tests.lab.layout import Layout

ROOT = Path(__file__).resolve().parent.parent
REPORTS = ROOT / 'build' / 'junit'
#: Processes that share the functional tests: most of their time is spent waiting for one guest.
SHARDS = 2
#: Where they tell each other which tests they have taken.
CLAIMS = REPORTS / 'claims'
#: Seconds that a suite may take; a hanging one must still end in a count.
DEADLINES = {
    'unit': 900.0,
    'openstack': 600.0,
    'functional': 2100.0,
    'thorough': 3600.0,
    'cloud': 1500.0,
    'campaign': 10800.0,
}
#: The suites that are run when none is named.
DEFAULT = ('unit', 'openstack', 'functional', 'cloud')
#: What needs Nova's or Cinder's classes, but no service. Each is a process of its own: Nova in
#: native threading mode lets nobody import eventlet, and Cinder imports it.
OPENSTACK_TESTS = ('nova', 'cinder')
#: What needs all of the services, in a lab.
CLOUD_TESTS = ('tests/functional_nova', 'tests/cloud')
CAMPAIGN_TESTS = (*CLOUD_TESTS, 'tests/cloud_campaign')
CLOUD_NAME = 'test-cloud'


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


def closing(total: Count) -> int:
    """Print the last line, and return the exit status: 0 when something ran and all passed."""
    print(total, flush=True)
    return 1 if total.failed or not total.passed else 0


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


@dataclass(frozen=True, slots=True)
class Shard:
    """One of several processes that share the functional tests, and the lab that it has."""

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read ``1/2``."""
        number, of = map(int, text.split('/'))
        return cls(number, of)

    def __str__(self) -> str:
        return f'{self.number}/{self.of}'

    @property
    def name(self) -> str:
        """Name of its report, and of what it leaves."""
        return f'functional-{self.number}'

    @property
    def report(self) -> Path:
        """Where its pytest reports to."""
        return REPORTS / f'{self.name}.xml'

    @property
    def remains(self) -> Path:
        """What a failed run leaves of its lab: the daemons' logs and the tests' artefacts."""
        return ROOT / 'build' / 'lab' / self.name

    @property
    def lab_name(self) -> str:
        """The name of its lab."""
        return f'test-{self.number}'

    def lab(self, *words: str) -> list[str]:
        """A command line of its lab."""
        return [sys.executable, '-m', 'tests.lab', '--name', self.lab_name, *words]


def pytest_argv(
    tests: Sequence[str], report: Path, extra: Sequence[str], python: str = sys.executable
) -> list[str]:
    """Return the command that runs these tests."""
    argv = [python, '-m', 'pytest', *tests, '-q', '--durations=10']
    argv += ['-o', 'faulthandler_timeout=600', f'--junitxml={report}']
    return argv + list(extra)


def keep_remains(lab_name: str, remains: Path) -> None:
    """Copy the lab's logs and artefacts to where they outlive the lab."""
    layout = Layout.of(lab_name)
    shutil.rmtree(remains, ignore_errors=True)
    for folder in (layout.logs, layout.artefacts):
        with contextlib.suppress(OSError, shutil.Error):
            shutil.copytree(folder, remains / folder.name, ignore_dangling_symlinks=True)
    print(f'tests.run: logs and artefacts are in {remains.relative_to(ROOT)}', flush=True)


def run_unit(extra: Sequence[str]) -> Count:
    """Run the unit tests and count them."""
    report = REPORTS / 'unit.xml'
    report.unlink(missing_ok=True)
    status = call(pytest_argv(['tests/unit'], report, extra), timeout=DEADLINES['unit'])
    return verdict(status, count(report))


def cloud(*words: str) -> list[str]:
    """A command line of the cloud that the tests use."""
    return [sys.executable, '-m', 'tests.cloud', '--name', CLOUD_NAME, *words]


def run_openstack(extra: Sequence[str]) -> Count:
    """Run the unit tests that import Nova and Cinder, and count them."""
    if call(cloud('venv'), timeout=DEADLINES['cloud']):
        return Count(failed=1)
    total = Count()
    for name in OPENSTACK_TESTS:
        report = REPORTS / f'openstack-{name}.xml'
        report.unlink(missing_ok=True)
        argv = pytest_argv([f'tests/{name}'], report, extra, str(SERVICES.python))
        total += verdict(call(argv, timeout=DEADLINES['openstack']), count(report))
    return total


def run_cloud(extra: Sequence[str]) -> Count:
    """Run the core of the tests on a real OpenStack, and count them."""
    return _run_cloud('cloud', CLOUD_TESTS, extra)


def run_campaign(extra: Sequence[str]) -> Count:
    """Run all tests on a real OpenStack, and count them."""
    # What they print is their figures.
    return _run_cloud('campaign', CAMPAIGN_TESTS, [*extra, '-s'])


def _run_cloud(suite: str, tests: Sequence[str], extra: Sequence[str]) -> Count:
    report = REPORTS / f'{suite}.xml'
    report.unlink(missing_ok=True)
    call(cloud('down'), timeout=120)
    try:
        counted = Count(failed=1)
        if call(cloud('up'), timeout=DEADLINES['cloud']) == 0:
            argv = cloud('run', '--', *pytest_argv(tests, report, extra, 'python'))
            counted = verdict(call(argv, timeout=DEADLINES[suite]), count(report))
        else:
            print('tests.run: the cloud did not come up', flush=True)
        if counted.failed:
            keep_remains(CLOUD_NAME, ROOT / 'build' / 'lab' / suite)
        return counted
    finally:
        call(cloud('down'), timeout=120)


def run_shard(shard: Shard, suite: str, extra: Sequence[str]) -> Count:
    """Run a shard's part of the functional tests in its lab, and count it."""
    shard.report.unlink(missing_ok=True)
    if suite != 'thorough' and not extra:
        extra = ['-m', 'not campaign']
    extra = [*extra, f'--shard={shard}']
    if shard.of > 1:
        extra.append(f'--claims={CLAIMS}')
    argv = pytest_argv(['tests/functional'], shard.report, extra)
    # What an interrupted run left is taken down first, so that each run starts alike.
    call(shard.lab('down'), timeout=120)
    try:
        counted = Count(failed=1)
        if call(shard.lab('up'), timeout=300) == 0:
            status = call(shard.lab('run', '--', *argv), timeout=DEADLINES[suite])
            counted = verdict(status, count(shard.report))
        else:
            print('tests.run: the lab did not come up', flush=True)
        if counted.failed:
            keep_remains(shard.lab_name, shard.remains)
        return counted
    finally:
        call(shard.lab('down'), timeout=120)


def run_functional(extra: Sequence[str]) -> Count:
    """Run the core of the functional tests, and count them."""
    return _run_shards('functional', extra)


def run_thorough(extra: Sequence[str]) -> Count:
    """Run all functional tests, and count them."""
    return _run_shards('thorough', extra)


def _run_shards(suite: str, extra: Sequence[str]) -> Count:
    """The first shard runs here, the others in processes beside it."""
    if extra:
        return run_shard(Shard(1, 1), suite, extra)
    shutil.rmtree(CLAIMS, ignore_errors=True)
    CLAIMS.mkdir(parents=True)
    first, *others = [Shard(number, SHARDS) for number in range(1, SHARDS + 1)]
    for shard in others:
        shard.report.unlink(missing_ok=True)
    with contextlib.ExitStack() as stack:
        beside = [
            stack.enter_context(
                Beside.started([suite, f'--shard={shard}'], REPORTS / f'{shard.name}.log')
            )
            for shard in others
        ]
        total = run_shard(first, suite, extra)
        for shard, other in zip(others, beside, strict=True):
            status = other.wait(DEADLINES[suite])
            total += verdict(status, count(shard.report))
    return total


def run_both(extra: Sequence[str]) -> Count:
    """Run the unit tests, and those with Nova's and Cinder's classes beside them."""
    argv = ['openstack', *(['-k', extra[1]] if extra else [])]
    with Beside.started(argv, REPORTS / 'openstack.log') as openstack:
        began = time.monotonic()
        total = run_unit(extra)
        print(f'unit: {total}, {time.monotonic() - began:.0f} s', flush=True)
        status = openstack.wait(DEADLINES['cloud'])
        reports = [REPORTS / f'openstack-{name}.xml' for name in OPENSTACK_TESTS]
        return total + verdict(status, sum((count(report) for report in reports), Count()))


@dataclass(frozen=True, slots=True)
class Beside:
    """This program once more, in a process that takes its lab down however this one ends."""

    process: subprocess.Popen[bytes]
    log: Path

    @classmethod
    @contextlib.contextmanager
    def started(cls, words: Sequence[str], log: Path) -> Iterator[Beside]:
        """Start it; leaving the context ends it."""
        argv = [sys.executable, '-m', 'tests.run', *words]
        with (
            log.open('wb') as out,
            subprocess.Popen(
                argv,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            ) as process,
        ):
            try:
                yield cls(process, log)
            finally:
                process.terminate()

    def wait(self, seconds: float) -> int:
        """Wait for its end, print what it printed, and return its exit status."""
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            status = -signal.SIGKILL
        print(self.log.read_text(errors='replace'), flush=True)
        return status


RUNNERS = {
    'unit': run_unit,
    'openstack': run_openstack,
    'functional': run_functional,
    'thorough': run_thorough,
    'cloud': run_cloud,
    'campaign': run_campaign,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the suites that were asked for, all by default."""
    parser = argparse.ArgumentParser(prog='python -m tests.run', description=__doc__)
    parser.add_argument(
        'suites', nargs='*', choices=[*DEADLINES, []], help='all but campaign, thorough'
    )
    parser.add_argument('-k', metavar='EXPRESSION', help="pytest's: only these tests")
    parser.add_argument('--shard', type=Shard.parse, help=argparse.SUPPRESS)  # see run_functional
    options = parser.parse_args(argv)
    # Being terminated takes the lab down as an interrupt does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    suites = options.suites or DEFAULT
    if options.shard is None and set(suites) >= set(DEFAULT):
        shutil.rmtree(REPORTS, ignore_errors=True)
    REPORTS.mkdir(parents=True, exist_ok=True)
    extra = ['-k', options.k] if options.k else []

    total = Count()
    if tuple(suites[:2]) == DEFAULT[:2]:
        began = time.monotonic()
        total += run_both(extra)
        print(f'both: {total}, {time.monotonic() - began:.0f} s', flush=True)
        suites = suites[2:]
    for suite in suites:
        started = time.monotonic()
        if options.shard is not None:
            counted = run_shard(options.shard, suite, extra)
        else:
            counted = RUNNERS[suite](extra)
        print(f'{suite}: {counted}, {time.monotonic() - started:.0f} s', flush=True)
        total += counted
    return closing(total)


if __name__ == '__main__':
    sys.exit(main())
