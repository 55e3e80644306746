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
"""What those who import us may rely on."""

from __future__ import annotations

import ast
import pkgutil
import subprocess
import sys
import tempfile
import textwrap
import unittest
from pathlib import Path

import blockmirror_driver

ROOT = Path(__file__).resolve().parents[2]
#: Rooms whose modules need what is not in this environment; their own tests import them.
DOORS = tuple(f'blockmirror_driver.{door}.' for door in ('nova', 'cinder', 'tempest_plugin'))
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(blockmirror_driver.__path__, 'blockmirror_driver.')
    if not module.name.startswith(DOORS)
)

#: Makes importing what nova-compute forbids an error, as nova-compute itself does for eventlet.
#: asyncio is what the standard library itself may import; ours is looked for in the source.
BLOCKER = """
import importlib, sys
sys.modules['eventlet'] = sys.modules['greenlet'] = None
for name in sys.argv[1:]:
    importlib.import_module(name)
"""

USER_SCRIPT = """
import json

import blockmirror_driver
from blockmirror_driver import exception


def show(path: str) -> str:
    with open(path) as file:
        connection_info = json.load(file)
    try:
        disk: blockmirror_driver.Disk = blockmirror_driver.disk_for(connection_info)
    except exception.InvalidConnectionInfo as error:
        return f'{error.field}: {error.hint} ({error.exit_code})'
    return disk.to_xml() + str(len(disk.secrets))
"""


def python(*argv: str) -> subprocess.CompletedProcess[str]:
    """Run this interpreter in a process of its own."""
    return subprocess.run(
        [sys.executable, *argv], cwd=ROOT, capture_output=True, text=True, check=False
    )


class TestPublicApi(unittest.TestCase):
    def test_at_most_15_names_and_all_there(self) -> None:
        names = blockmirror_driver.__all__
        self.assertLessEqual(len(names), 15)
        self.assertEqual(len(names), len(set(names)))
        for name in names:
            self.assertTrue(hasattr(blockmirror_driver, name), name)

    def test_what_the_readme_uses_is_public(self) -> None:
        for name in ('disk_for', 'Disk', 'exception'):
            self.assertIn(name, blockmirror_driver.__all__)

    def test_it_says_that_it_is_typed(self) -> None:
        self.assertTrue((Path(blockmirror_driver.__file__).parent / 'py.typed').exists())

    def test_a_users_script_type_checks(self) -> None:
        """What a user writes against the API passes mypy --strict, without our stubs."""
        with tempfile.TemporaryDirectory() as folder:
            script = Path(folder) / 'user_script.py'
            script.write_text(USER_SCRIPT)
            cache = ROOT / '.mypy_cache' / 'user-script'  # a cache is of one set of options
            options = ['--strict', '--config-file', '', '--cache-dir', str(cache)]
            checked = python('-m', 'mypy', *options, '--follow-imports=silent', str(script))
        self.assertEqual(0, checked.returncode, checked.stdout + checked.stderr)


class TestImports(unittest.TestCase):
    def test_the_package_imports_where_eventlet_is_forbidden(self) -> None:
        done = python('-c', BLOCKER, 'blockmirror_driver')
        self.assertEqual(0, done.returncode, done.stderr)

    def test_every_module_imports_where_eventlet_is_forbidden(self) -> None:
        done = python('-c', BLOCKER, *MODULES)
        self.assertEqual(0, done.returncode, done.stderr)

    def test_importing_starts_no_thread_and_loads_nothing_heavy(self) -> None:
        """A program that imports us for one name pays for that name, when it uses it."""
        code = """
            import sys, threading
            import blockmirror_driver
            assert threading.active_count() == 1, threading.enumerate()
            heavy = {'cliff', 'rich', 'libvirt', 'lxml', 'oslo_config', 'stevedore', 'sqlite3'}
            loaded = heavy & set(sys.modules)
            assert not loaded, loaded
            ours = {name for name in sys.modules if name.startswith('blockmirror_driver.')}
            assert ours == {'blockmirror_driver.exception'}, ours
            assert set(blockmirror_driver.__all__) <= set(dir(blockmirror_driver))
        """
        done = python('-c', textwrap.dedent(code))
        self.assertEqual(0, done.returncode, done.stderr)

    def test_a_name_that_is_not_public_is_an_attribute_error(self) -> None:
        with self.assertRaisesRegex(AttributeError, 'no attribute .nothing.'):
            _ = blockmirror_driver.nothing  # type: ignore[attr-defined]

    def test_help_loads_no_formatter_no_database_and_no_libvirt(self) -> None:
        code = """
            import io, sys
            from blockmirror_driver.cli import main
            shown, sys.stdout = sys.stdout, io.StringIO()
            assert main.main(['--help']) == 0
            text, sys.stdout = sys.stdout.getvalue(), shown
            assert 'Move a disk of a running guest' in text, text
            heavy = {'libvirt', 'sqlite3', 'rich', 'prettytable', 'yaml', 'oslo_concurrency'}
            loaded = heavy & set(sys.modules)
            assert not loaded, loaded
        """
        done = python('-c', textwrap.dedent(code))
        self.assertEqual(0, done.returncode, done.stderr)

    def test_no_module_of_ours_is_asynchronous(self) -> None:
        kinds = (ast.AsyncFunctionDef, ast.Await, ast.AsyncFor, ast.AsyncWith)
        for path in Path(blockmirror_driver.__file__).parent.rglob('*.py'):
            found = [node for node in ast.walk(ast.parse(path.read_text())) if _is(node, kinds)]
            self.assertEqual([], found, path)


def _is(node: ast.AST, kinds: tuple[type[ast.AST], ...]) -> bool:
    if isinstance(node, ast.Import):
        return any(alias.name.split('.')[0] == 'asyncio' for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        return (node.module or '').split('.')[0] == 'asyncio'
    return isinstance(node, kinds)
