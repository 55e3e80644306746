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
"""``blockmirror doctor`` in whole and in split environments; no Nova is imported."""

from __future__ import annotations

import importlib
import sys
import sysconfig
from importlib.machinery import BuiltinImporter, FrozenImporter, PathFinder
from pathlib import Path

import fixtures
import testtools

from blockmirror_driver.nova import install
from blockmirror_driver.swap.checks import Check


class TestExamine(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.theirs = self.folder()
        self.ours = self.folder()
        # Neither a Nova of this environment nor a finder of editable installs has a say.
        finders = [BuiltinImporter, FrozenImporter, PathFinder]
        self.useFixture(fixtures.MonkeyPatch('sys.meta_path', finders))
        modules = {n: m for n, m in sys.modules.items() if n.partition('.')[0] != 'nova'}
        self.useFixture(fixtures.MonkeyPatch('sys.modules', modules))
        path = [str(self.ours), str(self.theirs), sysconfig.get_paths()['stdlib']]
        self.useFixture(fixtures.MonkeyPatch('sys.path', path))

    def folder(self) -> Path:
        return Path(self.useFixture(fixtures.TempDir()).path)

    def put(self, *files: Path) -> None:
        for file in files:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text('raise AssertionError("imported")')
        # Finders remember folders by a time of modification that is too coarse for this.
        importlib.invalidate_caches()

    def put_nova(self) -> None:
        nova = self.theirs / 'nova'
        self.put(nova / '__init__.py', nova / 'virt/__init__.py', nova / 'virt/driver.py')

    def only(self) -> Check:
        (check,) = install.examine()
        return check

    def test_no_nova_nothing_to_say(self) -> None:
        self.assertEqual((), install.examine())

    def test_our_driver_without_nova(self) -> None:
        self.put(self.ours / 'nova/virt/blockmirror/__init__.py')
        self.assertEqual((), install.examine())

    def test_beside_nova(self) -> None:
        self.put_nova()
        self.put(self.theirs / 'nova/virt/blockmirror/__init__.py')
        check = self.only()
        self.assertIs(True, check.passed)
        self.assertIn(str(self.theirs), check.detail)

    def test_in_another_environment_than_nova(self) -> None:
        """A virtualenv over the system's packages: Python takes nova from one place only."""
        self.put_nova()
        self.put(self.ours / 'nova/virt/blockmirror/__init__.py')
        check = self.only()
        self.assertIs(False, check.passed)
        self.assertIn(str(self.theirs), check.detail)
        self.assertIn('pip', check.fix)

    def test_a_folder_that_an_uninstall_left(self) -> None:
        self.put_nova()
        (self.theirs / 'nova/virt/blockmirror/__pycache__').mkdir(parents=True)
        importlib.invalidate_caches()
        self.assertIs(False, self.only().passed)
