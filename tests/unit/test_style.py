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
"""The tree keeps its own rules: what ``make lint`` runs, each as a test."""

from __future__ import annotations

import configparser
import re
import subprocess
import sys
import tomllib
import unittest
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent


def tracked(*patterns: str) -> Iterator[Path]:
    """Yield the files of git's index that match; without git, those of the tree."""
    listed = subprocess.run(
        ['git', '-c', f'safe.directory={ROOT}', 'ls-files', '-z', '--', *patterns],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    names = listed.stdout.split('\0')[:-1]
    paths = [ROOT / n for n in names] or [p for glob in patterns for p in ROOT.rglob(glob)]
    yield from (path for path in paths if path.is_file())


class TestLint(unittest.TestCase):
    maxDiff = None

    def check(self, *argv: str) -> None:
        """Run a tool of the virtualenv; what it finds is what the failure shows."""
        done = subprocess.run(
            [str(BIN / argv[0]), *argv[1:]],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual(0, done.returncode, f'\n{done.stdout}{done.stderr}')

    def test_ruff_check(self) -> None:
        self.check('ruff', 'check', '--output-format=concise')

    def test_ruff_format(self) -> None:
        self.check('ruff', 'format', '--check')

    def test_hacking_and_our_own_checks(self) -> None:
        self.check('flake8', '--no-show-source')

    def test_data_goes_one_way_through_the_rooms(self) -> None:
        self.check('lint-imports')

    def test_mypy_strict(self) -> None:
        self.check('mypy')

    def test_release_notes_parse(self) -> None:
        self.check('reno', '-q', 'lint')


class TestTree(unittest.TestCase):
    def test_every_module_has_the_license(self) -> None:
        for path in tracked('*.py', '*.pyi', '*.sh', '*.c'):
            text = path.read_text()
            if text.strip():
                with self.subTest(path.relative_to(ROOT)):
                    self.assertIn('Licensed under the Apache License, Version 2.0', text[:900])

    def test_modules_are_small(self) -> None:
        for path in tracked('blockmirror_driver/*.py'):
            with self.subTest(path.relative_to(ROOT)):
                self.assertLess(len(path.read_text().splitlines()), 400)

    def test_no_module_is_a_drawer(self) -> None:
        drawers = [p for p in tracked('*.py') if re.fullmatch(r'utils?|common|misc', p.stem)]
        self.assertEqual([], drawers)

    def test_every_entry_point_leads_somewhere(self) -> None:
        project = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']
        points = [*project['scripts'].values()]
        for group in project['entry-points'].values():
            points += group.values()
        for point in points:
            module = point.partition(':')[0].replace('.', '/')
            with self.subTest(point):
                self.assertTrue((ROOT / f'{module}.py').exists())

    def test_tox_has_the_environments_that_contributing_names(self) -> None:
        tox = configparser.ConfigParser(interpolation=None)
        tox.read(ROOT / 'tox.ini')
        text = (ROOT / 'CONTRIBUTING.rst').read_text()
        for name in ('functional', 'pep8', 'cover', 'docs', 'releasenotes', 'genconfig'):
            self.assertIn(f'testenv:{name}', tox)
            self.assertIn(f'``{name}``', text)

    def test_hacking_names_every_check(self) -> None:
        codes = set(re.findall(r'BM3\d\d', (ROOT / 'tools/hacking_checks.py').read_text()))
        self.assertEqual(codes, set(re.findall(r'BM3\d\d', (ROOT / 'HACKING.rst').read_text())))
