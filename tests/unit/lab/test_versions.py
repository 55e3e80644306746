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
"""The runner of other Debian suites, without making one."""

import pathlib
import tempfile
import unittest
from unittest import mock

from tests.lab.layout import LabError
from tests.lab.namespace import REPOSITORY
from tests.run import Count
from tests.versions import __main__ as versions
from tests.versions import root

REPORT = '<testsuites><testsuite><testcase name="one"/></testsuite></testsuites>'


class RootTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.home = pathlib.Path(folder.name)
        self.enterContext(mock.patch.object(root, 'HOME', self.home))

    def test_what_a_failed_debootstrap_left_is_removed(self) -> None:
        def fail(argv: list[str], **_: float) -> str:
            pathlib.Path(argv[-1], 'usr').mkdir(parents=True)
            raise LabError('debootstrap', 'no such suite')

        with mock.patch.object(root, 'run', side_effect=fail), self.assertRaises(LabError):
            root.Root('nowhere').make()
        self.assertEqual([], list(self.home.iterdir()))

    def test_no_path_of_the_machine_is_passed_on(self) -> None:
        given = {
            'PATH': '/somewhere',
            'HOME': '/home/me',
            'PIP_FIND_LINKS': '/wheels',
            'https_proxy': 'http://proxy.example:3128',
        }
        passed = root._environment(given)
        self.assertEqual('http://proxy.example:3128', passed['https_proxy'])
        self.assertEqual('/root', passed['HOME'])
        self.assertNotIn('PIP_FIND_LINKS', passed)
        self.assertNotIn('/somewhere', passed['PATH'])

    def test_the_tree_is_put_there_as_it_is(self) -> None:
        suite = root.Root('some')
        suite.put()
        put = self.home / 'some' / root.TREE.relative_to('/')
        gone = put / 'tests' / 'of_another_time.py'
        gone.touch()
        suite.put()
        self.assertFalse(gone.exists())
        here = pathlib.Path(__file__)
        self.assertEqual(here.read_text(), (put / here.relative_to(REPOSITORY)).read_text())
        self.assertFalse((put / '.venv').exists())


class CountTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.enterContext(mock.patch.object(root, 'HOME', pathlib.Path(folder.name)))
        self.suite = root.Root('some')
        self.reports = self.suite.path / root.TREE.relative_to('/') / 'build/junit'
        self.reports.mkdir(parents=True)

    def run_it(self, statuses: dict[str, int]) -> Count:
        """Run with these exit statuses by the command's last word; others are 0."""

        def call(_root: root.Root, argv: list[str]) -> int:
            if argv[-1] == 'thorough':
                (self.reports / 'functional-1.xml').write_text(REPORT)
            return statuses.get(argv[-1], 0)

        with (
            mock.patch.object(root.Root, 'make'),
            mock.patch.object(root.Root, 'put'),
            mock.patch.object(root.Root, 'call', call),
        ):
            return versions.test(self.suite, [])

    def test_what_ran_is_counted(self) -> None:
        self.assertEqual(Count(1), self.run_it({}))

    def test_a_report_of_another_time_is_not(self) -> None:
        (self.reports / 'functional-2.xml').write_text(REPORT)
        self.assertEqual(Count(1), self.run_it({}))

    def test_no_virtualenv_is_a_failure(self) -> None:
        self.assertEqual(Count(0, 1), self.run_it({'venv': 2}))

    def test_a_runner_that_died_is_a_failure(self) -> None:
        self.assertEqual(Count(1, 1), self.run_it({'thorough': 137}))

    def test_a_suite_that_can_not_be_made_is_a_failure(self) -> None:
        with mock.patch.object(root.Root, 'make', side_effect=LabError('debootstrap', 'no')):
            self.assertEqual(Count(0, 1), versions.test(self.suite, []))
