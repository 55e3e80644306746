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
"""Global options, exit codes, and one line per error."""

from __future__ import annotations

import gc
import importlib.metadata
import os
import subprocess
import sys
from unittest import mock

import testtools

from blockmirror_driver import exception
from blockmirror_driver.cli import app, main
from tests.unit.cli import fakes

COMMANDS = (
    'audit',
    'cancel',
    'copy',
    'doctor',
    'drain',
    'format-luks',
    'grow',
    'hold',
    'list',
    'pivot',
    'plan',
    'qemu-job',
    'qemu-jobs',
    'recover',
    'report',
    'resolve',
    'show',
    'speed',
    'swap',
    'swap-group',
    'waiting',
    'watch',
    'xml',
)


class TestCommands(fakes.CommandTestCase):
    def test_every_command_is_registered_and_helps(self) -> None:
        registered = importlib.metadata.entry_points(group=app.NAMESPACE)
        self.assertEqual(COMMANDS, tuple(sorted(point.name for point in registered)))
        for name in COMMANDS:
            ran = self.run_command('help', name)
            self.assertEqual((0, ''), (ran.code, ran.err))
            self.assertIn(f'usage: blockmirror {name}', ran.out)

    def test_overview(self) -> None:
        ran = self.run_command('--help')
        self.assertEqual((0, ''), (ran.code, ran.err))
        for name in COMMANDS:
            self.assertIn(f'\n  {name} ', ran.out)

    def test_completion(self) -> None:
        ran = self.run_command('complete')
        self.assertEqual((0, ''), (ran.code, ran.err))
        self.assertIn('--reuse-external', ran.out)
        subprocess.run(['bash', '-n'], input=ran.out, text=True, check=True)


class TestCoreFile(testtools.TestCase):
    def test_leaves_no_core_file(self) -> None:
        """Whatever the shell allows."""
        code = (
            'import resource\n'
            'from blockmirror_driver.cli import main\n'
            'main.main(["help", "list"])\n'
            'print(resource.getrlimit(resource.RLIMIT_CORE))\n'
        )
        done = subprocess.run(
            [sys.executable, '-c', code], capture_output=True, text=True, check=True
        )
        self.assertEqual('(0, 0)', done.stdout.splitlines()[-1])


class TestCollector(fakes.CommandTestCase):
    """Python looks for garbage while something happens, and not while all is imported."""

    def test_from_the_first_use_of_the_journal_on(self) -> None:
        code = (
            'import gc, sys\n'
            'from blockmirror_driver.cli import main\n'
            'from blockmirror_driver.swap.journal import Journal\n'
            'seen = []\n'
            'records = Journal.records\n'
            'def looking(*args, **kwargs):\n'
            '    seen.append(gc.isenabled())\n'
            '    return records(*args, **kwargs)\n'
            'Journal.records = looking\n'
            'main.main(sys.argv[1:])\n'
            'print(seen, gc.isenabled())\n'
        )
        argv = ['list', '--journal', str(self.journal.path)]
        done = subprocess.run(
            [sys.executable, '-c', code, *argv], capture_output=True, text=True, check=True
        )
        self.assertEqual('[True] True', done.stdout.splitlines()[-1])

    def test_and_of_the_service(self) -> None:
        gc.disable()
        self.addCleanup(gc.enable)
        self.run_command('doctor')
        self.assertTrue(gc.isenabled())


class TestUsage(fakes.CommandTestCase):
    def test_is_one_line_and_2(self) -> None:
        for argv in (
            (),
            ('nonsense',),
            ('--nonsense', 'list'),
            ('list', '--nonsense'),
            ('swap', 'guest'),
            ('xml',),
            ('speed', 'x', 'fast'),
            ('resolve', 'x'),
            ('resolve', 'x', '--source', '--destination'),
            ('list', '-f', 'nonsense'),
            ('list', '-v', '-q'),
            ('xml', '--targ', 'vdb', 'x.json'),
        ):
            self.refused(2, *argv)

    def test_hint_names_the_command(self) -> None:
        line = self.refused(2, 'swap', 'guest')
        self.assertIn('(hint: see blockmirror help swap)', line)


class TestConfiguration(fakes.CommandTestCase):
    def load(self, *argv: str) -> app.BlockmirrorApp:
        tool = app.BlockmirrorApp()
        tool.options, _rest = tool.parser.parse_known_args(list(argv))
        return tool

    def test_a_missing_or_broken_file_is_2(self) -> None:
        self.refused(2, 'list', '--config-file', str(self.folder / 'absent'))
        broken = self.file('broken.conf', 'this is not ini')
        self.refused(2, 'list', '--config-file', broken)
        bad = self.file('bad.conf', '[blockmirror]\nbandwidth = fast\n')
        self.refused(2, 'list', '--config-file', bad)

    def test_what_is_nearer_wins(self) -> None:
        path = self.file('a.conf', '[blockmirror]\njournal_path = /file\nbandwidth = 5\n')
        group = self.load('--config-file', path).conf.blockmirror
        self.assertEqual(('/file', 5), (group.journal_path, group.bandwidth))
        with mock.patch.dict(os.environ, {'OS_BLOCKMIRROR__JOURNAL_PATH': '/env'}):
            group = self.load('--config-file', path).conf.blockmirror
            self.assertEqual('/env', group.journal_path)
            group = self.load('--config-file', path, '--journal', '/option').conf.blockmirror
            self.assertEqual('/option', group.journal_path)

    def test_connection_uri(self) -> None:
        conf = self.load('--connect', 'qemu:///embed?root=/x').conf
        self.assertEqual('qemu:///embed?root=/x', conf.blockmirror.connection_uri)


class TestErrors(fakes.CommandTestCase):
    def test_each_class_gives_its_code(self) -> None:
        path = self.file('rbd.json', fakes.RBD)
        for kind in exception.families():
            if kind.__module__ != exception.__name__:
                continue
            self.service.result = kind('what\nhappened', hint='do that')
            line = self.refused(kind.exit_code, '-q', 'swap', 'guest', 'vda', path)
            self.assertEqual('blockmirror: error: what happened (hint: do that)', line)

    def test_the_swap_is_named(self) -> None:
        error = exception.StateUnknown('lost', hint='look')
        vars(error)['swap_id'] = fakes.SWAP_ID
        self.assertEqual(
            f'blockmirror: error: lost [swap {fakes.SWAP_ID}] (hint: look)', app.describe(error)
        )

    def test_a_defect_is_7_when_a_swap_may_run_and_3_otherwise(self) -> None:
        path = self.file('rbd.json', fakes.RBD)
        self.service.result = RuntimeError(fakes.CANARY)
        for code, command in ((7, 'swap'), (3, 'plan')):
            line = self.refused(code, command, 'guest', 'vda', path)
            self.assertIn('internal error: RuntimeError', line)
            self.assertNotIn(fakes.CANARY, line)

    def test_the_service_is_closed(self) -> None:
        path = self.file('rbd.json', fakes.RBD)
        self.service.result = exception.Cancelled('no')
        self.refused(5, 'swap', 'guest', 'vda', path)
        self.assertEqual(('close',), self.service.calls[-1])


class TestProcess(fakes.CommandTestCase):
    def test_a_closed_pipe_is_silent(self) -> None:
        self.journaled(fakes.record())
        command = [sys.executable, '-m', 'blockmirror_driver.cli.main', 'list']
        command += ['--journal', str(self.journal.path)]
        read, write = os.pipe()
        os.close(read)
        ran = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, check=False)
        os.close(write)
        self.assertEqual((main.BROKEN_PIPE, b''), (ran.returncode, ran.stderr))

    def test_debug_shows_the_traceback_on_stderr(self) -> None:
        command = [sys.executable, '-m', 'blockmirror_driver.cli.main', '--debug', 'show', 'x']
        command += ['--journal', str(self.journal.path)]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        self.assertEqual((3, ''), (ran.returncode, ran.stdout))
        self.assertIn('Traceback', ran.stderr)
        self.assertTrue(ran.stderr.splitlines()[-1].startswith('blockmirror: error: no swap'))

    def test_offline_commands_need_no_libvirt(self) -> None:
        code = (
            'import sys\n'
            "sys.modules['libvirt'] = None\n"
            'from blockmirror_driver.cli.main import main\n'
            'sys.exit(main(sys.argv[1:]))\n'
        )
        path = self.file('rbd.json', fakes.RBD)
        for argv in (['xml', path], ['list', '--journal', str(self.journal.path)]):
            ran = subprocess.run(
                [sys.executable, '-c', code, *argv], capture_output=True, text=True, check=False
            )
            self.assertEqual(0, ran.returncode, ran.stderr)
