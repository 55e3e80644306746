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
"""The package as it is installed beside Nova."""

from __future__ import annotations

import re
import subprocess
import sys
import unittest
from pathlib import Path

from blockmirror_driver.nova import settings

ROOT = Path(__file__).resolve().parents[2]


class TestInstalled(unittest.TestCase):
    def in_nova(self, code: str) -> str:
        """Run it in a process of its own and outside of the tree, as nova-compute runs."""
        ran = subprocess.run(
            [sys.executable, '-c', code], cwd='/', capture_output=True, text=True, check=False
        )
        self.assertEqual(0, ran.returncode, ran.stderr)
        return ran.stdout

    def test_the_driver_is_the_only_file_that_goes_to_nova(self) -> None:
        names = self.in_nova(
            'import importlib.metadata\n'
            'for file in importlib.metadata.files("blockmirror-driver"): print(file)'
        )
        ours = [n for n in names.split() if n.startswith('nova/') and n.endswith('.py')]
        self.assertEqual(['nova/virt/blockmirror/__init__.py'], ours)

    def test_nova_finds_it(self) -> None:
        said = self.in_nova(
            'from nova import monkey_patch; monkey_patch.patch(backend="threading")\n'
            'from oslo_utils import importutils\n'
            'print(importutils.import_class("nova.virt.blockmirror.LibvirtDriver"))\n'
            'from blockmirror_driver.nova import install\n'
            'print([check.passed for check in install.examine()])'
        )
        self.assertIn("<class 'blockmirror_driver.nova.driver.LibvirtDriver'>", said)
        self.assertIn('[True]', said)

    def test_the_documentation_lists_the_extra_specs(self) -> None:
        text = (ROOT / 'doc/source/configuration/index.rst').read_text()
        rows = re.findall(r'^``blockmirror:(\w+)`` +``(\w+)`` ', text, re.MULTILINE)
        self.assertEqual({key: name for key, (name, _) in settings.KEYS.items()}, dict(rows))
