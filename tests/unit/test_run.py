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
"""The count at the end of ``make test`` can't be green by accident."""

from __future__ import annotations

import tempfile
import unittest
from pathlib import Path
from unittest import mock

import pytest

from tests import run
from tests.functional import conftest

REPORT = """<?xml version="1.0"?>
<testsuites><testsuite>
  <testcase name="passed"/><testcase name="printed"><system-out>x</system-out></testcase>
  <testcase name="failed"><failure message="x"/></testcase>
  <testcase name="broken"><error message="x"/></testcase>
  <testcase name="skipped"><skipped message="x"/></testcase>
</testsuite></testsuites>
"""


def _protocol(item: pytest.Item) -> bool | None:
    return conftest.pytest_runtest_protocol(item)


class TestCount(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.report = Path(folder.name) / 'report.xml'

    def test_errors_and_skips_are_failures(self) -> None:
        self.report.write_text(REPORT)
        self.assertEqual(run.Count(2, 3), run.count(self.report))

    def test_no_report_is_a_failure(self) -> None:
        self.assertEqual(run.Count(0, 1), run.count(self.report))

    def test_half_a_report_is_a_failure(self) -> None:
        self.report.write_text(REPORT[:100])
        self.assertEqual(run.Count(0, 1), run.count(self.report))

    def test_the_last_line(self) -> None:
        self.assertEqual('12 passed, 0 failed', str(run.Count(10) + run.Count(2)))


class TestVerdict(unittest.TestCase):
    def test_a_status_that_fits_adds_nothing(self) -> None:
        self.assertEqual(run.Count(3), run.verdict(0, run.Count(3)))
        self.assertEqual(run.Count(3, 1), run.verdict(1, run.Count(3, 1)))

    def test_a_status_that_does_not_fit_adds_a_failure(self) -> None:
        for status, counted in (
            (0, run.Count()),
            (1, run.Count(3)),
            (2, run.Count(3)),
            (3, run.Count(3)),
            (5, run.Count()),
            (-9, run.Count(3)),
            (-11, run.Count(3, 1)),
        ):
            with self.subTest(status=status, counted=counted):
                expected = run.Count(counted.passed, counted.failed + 1)
                self.assertEqual(expected, run.verdict(status, counted))

    def test_a_hanging_command_is_killed(self) -> None:
        self.assertEqual(-9, run.call(['sleep', '600'], timeout=0.1))


class TestSuites(unittest.TestCase):
    def test_a_lab_that_does_not_come_up_is_a_failure_and_is_taken_down(self) -> None:
        with (
            mock.patch.object(run, 'call', side_effect=[0, 1, 0]) as call,
            mock.patch.object(run, 'keep_remains') as keep,
        ):
            self.assertEqual(run.Count(0, 1), run.run_shard(run.Shard(1, 2), 'functional', []))
        keep.assert_called_once_with('test-1', run.Shard(1, 2).remains)
        self.assertEqual(['down', 'up', 'down'], [c.args[0][-1] for c in call.call_args_list])

    def test_shards_have_labs_and_reports_of_their_own(self) -> None:
        one, two = run.Shard.parse('1/2'), run.Shard.parse('2/2')
        self.assertEqual('2/2', str(two))
        self.assertNotEqual(one.lab('up'), two.lab('up'))
        self.assertNotEqual(one.report, two.report)

    def taken(self, shard: str, claims: str | None, until: int = 99) -> list[str]:
        """The tests that a shard runs, when it comes to ``until`` of them."""
        names = ['a.py', 'b.py', 'c.py', 'test_zz_secrets.py']
        options = {'--shard': shard, '--claims': claims}
        config = mock.Mock(getoption=options.get)
        items: list[pytest.Item] = [
            mock.Mock(path=Path(name), nodeid=f'tests/{name}::T::t[/x]', config=config)
            for name in names
        ]
        conftest.pytest_collection_modifyitems(config, items)
        with mock.patch.object(conftest, 'runtestprotocol') as ran:
            for item in items[:until]:
                self.assertIs(None if claims is None else True, _protocol(item))
        if claims is None:
            return [item.path.name for item in items]
        self.assertEqual({None}, {call.kwargs['nextitem'] for call in ran.call_args_list})
        return [call.args[0].path.name for call in ran.call_args_list]

    def test_every_test_is_in_one_shard_and_the_search_in_all(self) -> None:
        with tempfile.TemporaryDirectory() as claims:
            self.assertEqual(['a.py'], self.taken('1/2', claims, until=1))
            self.assertEqual(['c.py', 'b.py', 'test_zz_secrets.py'], self.taken('2/2', claims))
            self.assertEqual(['test_zz_secrets.py'], self.taken('1/2', claims))
        self.assertEqual(4, len(self.taken('1/1', None)))

    def test_what_is_left_out_is_run_when_it_is_asked_for(self) -> None:
        for suite, extra, left_out in (
            ('functional', [], True),
            ('functional', ['-k', 'thin'], False),
            ('thorough', [], False),
        ):
            with mock.patch.object(run, 'call', return_value=0) as call:
                run.run_shard(run.Shard(1, 1), suite, extra)
            (argv,) = (c.args[0] for c in call.call_args_list if 'pytest' in c.args[0])
            self.assertEqual(left_out, 'not campaign' in argv, suite)

    def test_suites_beside_each_other_are_both_counted(self) -> None:
        with (
            tempfile.TemporaryDirectory() as folder,
            mock.patch.object(run, 'REPORTS', Path(folder)),
            mock.patch.object(run, 'run_unit', return_value=run.Count(3)),
            mock.patch.object(run.Beside, 'started') as started,
        ):
            beside = started.return_value.__enter__.return_value
            for status, expected in (0, run.Count(3, 2)), (1, run.Count(3, 2)):
                beside.wait.return_value = status
                self.assertEqual(expected, run.run_both([]))
            for name in run.OPENSTACK_TESTS:
                (Path(folder) / f'openstack-{name}.xml').write_text('<t><testcase/></t>')
            beside.wait.return_value = 0
            self.assertEqual(run.Count(5), run.run_both([]))
            beside.wait.return_value = -9
            self.assertEqual(run.Count(5, 1), run.run_both([]))

    def test_a_run_of_all_has_the_core_of_the_campaign(self) -> None:
        self.assertEqual({*run.RUNNERS}, {*run.DEADLINES})
        self.assertEqual({'campaign', 'thorough'}, {*run.RUNNERS} - {*run.DEFAULT})
        self.assertLess({*run.CLOUD_TESTS}, {*run.CAMPAIGN_TESTS})

    def test_nothing_that_ran_is_not_green(self) -> None:
        with (
            tempfile.TemporaryDirectory() as folder,
            mock.patch.object(run, 'REPORTS', Path(folder) / 'junit'),
            mock.patch.dict(run.RUNNERS, unit=lambda _: run.Count()),
            mock.patch.object(run, 'call', side_effect=AssertionError('it starts no command')),
            mock.patch('signal.signal'),
        ):
            self.assertEqual(1, run.main(['unit']))
