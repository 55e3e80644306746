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
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import unittest
from unittest import mock

from tests.lab.layout import Credentials, LabError, Layout
from tests.lab.process import Daemon, Identity, end, parse_stat

SLEEPER = [sys.executable, '-c', 'import signal; print(flush=True); signal.pause()']


class ParseStatTest(unittest.TestCase):
    def test_the_command_may_hold_spaces_and_parentheses(self) -> None:
        fields = ' '.join(str(number) for number in range(1, 50))
        self.assertEqual(('S', 19), parse_stat(f'42 (a) R (b c) S {fields}'))

    def test_anything_else_is_refused(self) -> None:
        for text in ('', '42 (a) S 1 2', 'nonsense'):
            with self.assertRaises(ValueError):
                parse_stat(text)


class IdentityTest(unittest.TestCase):
    def setUp(self) -> None:
        self.child = subprocess.Popen(SLEEPER, stdout=subprocess.PIPE)
        assert self.child.stdout is not None
        self.addCleanup(self.child.wait)
        self.addCleanup(self.child.kill)
        self.addCleanup(self.child.stdout.close)
        self.child.stdout.readline()
        found = Identity.of(self.child.pid)
        assert found is not None
        self.identity = found

    def test_it_is_found_again_from_its_file(self) -> None:
        with tempfile.TemporaryDirectory() as name:
            path = pathlib.Path(name, 'record')
            self.identity.store(path)
            self.assertEqual(self.identity, Identity.load(path))
            self.assertEqual(0o600, path.stat().st_mode & 0o777)
            path.write_text('{"pid": 1}')
            self.assertIsNone(Identity.load(path))

    def test_a_recycled_pid_is_not_signalled(self) -> None:
        pid, start, boot = self.child.pid, self.identity.start_ticks, self.identity.boot
        for other in (Identity(pid, start - 1, boot), Identity(pid, start, 'another')):
            self.assertFalse(other.alive())
            self.assertFalse(other.signal(signal.SIGKILL))
            end(other)
        self.assertTrue(self.identity.alive())

    def test_a_zombie_is_dead(self) -> None:
        self.child.kill()
        self.assertTrue(self.identity.wait_dead(10))
        self.assertTrue(pathlib.Path(f'/proc/{self.child.pid}').exists())
        self.assertFalse(self.identity.alive())
        self.assertFalse(self.identity.signal(signal.SIGTERM))

    def test_end_ends_a_stopped_process(self) -> None:
        self.identity.signal(signal.SIGSTOP)
        end(self.identity, grace_s=5)
        self.assertEqual(-signal.SIGTERM, self.child.wait())

    def test_waiting_for_a_living_process_has_a_limit(self) -> None:
        self.assertFalse(self.identity.wait_dead(0.01))


class DaemonTest(unittest.TestCase):
    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.layout = Layout.of('one', pathlib.Path(directory.name))
        self.layout.make()

    def test_start_stop_cont_kill(self) -> None:
        daemon = Daemon(self.layout, 'sleeper', SLEEPER, lambda: True)
        self.addCleanup(daemon.kill)
        daemon.start()
        pid = daemon.pid
        daemon.start()
        self.assertEqual(pid, daemon.pid)
        daemon.stop()
        self.assertTrue(daemon.alive())
        daemon.cont()
        again = Daemon(self.layout, 'sleeper', SLEEPER, lambda: True)
        self.assertEqual(pid, again.pid)
        again.terminate()
        self.assertFalse(daemon.alive())
        with self.assertRaises(LabError):
            daemon.stop()

    def test_an_early_end_is_told_with_the_log(self) -> None:
        argv = [sys.executable, '-c', 'print("no such option", flush=True); raise SystemExit(1)']
        daemon = Daemon(self.layout, 'broken', argv, lambda: False)
        with self.assertRaisesRegex(LabError, '(?s)broken: .*no such option'):
            daemon.start()


class LayoutTest(unittest.TestCase):
    def test_names_that_are_unfit_are_refused(self) -> None:
        for name in ('', '../x', 'A', 'a' * 17, '-a', '.cache'):
            with self.assertRaises(LabError):
                Layout.of(name)

    def test_a_root_too_long_for_sockets_is_refused(self) -> None:
        with self.assertRaises(LabError):
            Layout.of('a', pathlib.Path('/' + 'x' * 80))

    def test_a_base_of_somebody_else_is_refused(self) -> None:
        with tempfile.TemporaryDirectory() as name:
            layout = Layout.of('a', pathlib.Path(name))
            with mock.patch.object(os, 'geteuid', return_value=os.geteuid() + 1):
                self.assertRaises(LabError, layout.make)

    def test_credentials_are_drawn_once_and_kept_private(self) -> None:
        with tempfile.TemporaryDirectory() as name:
            layout = Layout.of('a', pathlib.Path(name))
            layout.make()
            first = Credentials.of(layout)
            self.assertEqual(first, Credentials.of(layout))
            self.assertNotEqual(first, Credentials.draw())
            self.assertEqual(0o600, (layout.root / 'credentials.json').stat().st_mode & 0o777)
