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
"""What the documents say can be done."""

from __future__ import annotations

import ast
import re
import tomllib
import unittest
from collections.abc import Iterator
from pathlib import Path

from blockmirror_driver import exception
from blockmirror_driver.cli.app import BlockmirrorApp
from blockmirror_driver.swap import checks

ROOT = Path(__file__).resolve().parents[2]
DOCS = [ROOT / 'README.rst', *sorted((ROOT / 'doc/source').rglob('*.rst'))]
GUIDE = ROOT / 'doc/source/operations/exit-codes.rst'
PROJECT = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']
COMMANDS = PROJECT['entry-points']['blockmirror.cli']
#: A command in a literal or in a shell example, up to where it ends.
INVOCATION = re.compile(r'(?:``|[#$] )blockmirror ([a-z][a-z-]*)((?: [^`\n#]*)?)')
#: A test as pytest names it, in a literal.
TEST = re.compile(r'``(tests/[a-z0-9_/]+\.py)((?:::\w+)+)``')
#: cliff's own.
BUILTIN = {'help', 'complete'}


def invocations() -> Iterator[tuple[str, str, str]]:
    """Yield document, command and the rest of each line that shows one."""
    for path in DOCS:
        for command, rest in INVOCATION.findall(path.read_text()):
            yield str(path.relative_to(ROOT)), command, rest


class TestGuide(unittest.TestCase):
    def test_there_is_a_section_for_each_exit_code(self) -> None:
        sections = re.findall(r'^(\d+): .+\n=+$', GUIDE.read_text(), re.MULTILINE)
        codes = [family.exit_code for family in exception.families()]
        self.assertEqual({*map(str, codes), '130'}, set(sections))

    def test_the_one_that_needs_an_operator_comes_first(self) -> None:
        section = re.search(r'^(\d+): .+\n=+$', GUIDE.read_text(), re.MULTILINE)
        assert section is not None
        self.assertEqual(str(exception.StateUnknown.exit_code), section[1])

    def test_the_checks_that_it_explains_exist(self) -> None:
        guide = GUIDE.read_text()
        rooms = Path(checks.__file__).parent.glob('*.py')
        source = '\n'.join(path.read_text() for path in rooms)
        for line in re.findall(r'^``[a-z-]+``(?:, ``[a-z-]+``)*$', guide, re.MULTILINE):
            for check in re.findall(r'``([a-z-]+)``', line):
                self.assertIn(f"'{check}'", source)

    def test_the_readme_has_every_exit_code(self) -> None:
        text = (ROOT / 'README.rst').read_text()
        for family in exception.families():
            self.assertRegex(text, rf'(?m)^{family.exit_code}  +\S')


class TestCommands(unittest.TestCase):
    def test_every_command_that_is_shown_exists(self) -> None:
        for path, command, _ in invocations():
            with self.subTest(path=path, command=command):
                self.assertIn(command, BUILTIN | set(COMMANDS))

    def test_every_option_that_is_shown_exists(self) -> None:
        app = BlockmirrorApp()
        for path, command, rest in invocations():
            options = re.findall(r'(?<!\S)--?[a-z][a-z-]*', rest)
            if command in BUILTIN or not options:
                continue
            factory, _, _ = app.command_manager.find_command([command])
            help_text = factory(app, None, command).get_parser('blockmirror').format_help()
            for option in options:
                with self.subTest(path=path, command=command, option=option):
                    self.assertRegex(help_text, rf'(?<![\w-]){option}(?![\w-])')

    def test_every_command_is_in_the_readme_or_the_guide(self) -> None:
        shown = {command for _, command, _ in invocations()}
        self.assertEqual(set(), set(COMMANDS) - shown)


class TestFeatures(unittest.TestCase):
    """The table of features names a test in each of our cells, and there is such a test."""

    def test_each_row_names_a_test(self) -> None:
        rows = (ROOT / 'doc/source/reference/features.rst').read_text().split('   * - ')[1:]
        self.assertGreater(len(rows), 20)
        headings = 0
        for row in rows:
            ours = row.split('\n     - ')[1]
            if ours.strip() == 'blockmirror':
                headings += 1
            else:
                self.assertRegex(ours, TEST, row)
        self.assertEqual(2, headings)

    def test_each_named_test_exists(self) -> None:
        named = {match for path in DOCS for match in TEST.findall(path.read_text())}
        self.assertGreater(len(named), 25)
        for path, names in sorted(named):
            with self.subTest(path + names):
                body: list[ast.stmt] = ast.parse((ROOT / path).read_text()).body
                for name in names.split('::')[1:]:
                    found = [
                        node
                        for node in body
                        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name
                    ]
                    self.assertEqual(1, len(found), name)
                    body = found[0].body
