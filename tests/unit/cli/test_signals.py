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
"""Real signals to a real process; it is told what to do by lines, never by time."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import testtools

from tests.unit.cli import fakes

ROOT = Path(__file__).parents[3]


class TestSignals(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        (self.folder / 'rbd.json').write_text(json.dumps(fakes.RBD))

    def start(self, behaviour: str, ignored: str = '') -> subprocess.Popen[str]:
        command = [sys.executable, '-m', 'tests.unit.cli.signalled', behaviour]
        command += [f'ignored:{ignored}', 'swap', 'guest', 'vda', str(self.folder / 'rbd.json')]
        command += ['--journal', str(self.folder / 'journal.sqlite')]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
        )
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        self.read_until(process, 'the copy runs')
        return process

    def read_until(self, process: subprocess.Popen[str], text: str) -> str:
        assert process.stderr is not None
        seen = []
        for line in process.stderr:
            if text in line:
                return line
            seen.append(line)
        raise AssertionError(f'{text!r} is not in {seen}')

    def finish(self, process: subprocess.Popen[str]) -> tuple[int, str, str]:
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    def test_first_interrupt_cancels(self) -> None:
        process = self.start('answers')
        process.send_signal(signal.SIGINT)
        code, out, err = self.finish(process)
        self.assertEqual((5, ''), (code, out), err)
        self.assertEqual(
            ['blockmirror: error: cancelled on request; the guest is on the source'],
            err.splitlines(),
        )

    def test_second_interrupt_leaves_the_job_and_says_how_to_go_on(self) -> None:
        process = self.start('hangs')
        process.send_signal(signal.SIGINT)
        self.read_until(process, 'the destination hangs')
        process.send_signal(signal.SIGINT)
        code, _out, err = self.finish(process)
        self.assertEqual(130, code, err)
        self.assertIn(f'blockmirror recover {fakes.SWAP_ID} takes it up again', err)
        self.assertNotIn('Traceback', err)

    def test_third_interrupt_ends_a_process_that_nothing_else_ends(self) -> None:
        process = self.start('deaf')
        process.send_signal(signal.SIGINT)
        self.read_until(process, 'the destination hangs')
        process.send_signal(signal.SIGINT)
        self.read_until(process, 'a call hangs')
        process.send_signal(signal.SIGINT)
        code, _out, err = self.finish(process)
        self.assertEqual(130, code)
        self.assertIn('blockmirror recover takes it up again', err)
        self.assertNotIn('Traceback', err)

    def test_terminate_and_hangup_leave_the_job(self) -> None:
        for number in (signal.SIGTERM, signal.SIGHUP):
            process = self.start('answers')
            process.send_signal(number)
            code, _out, err = self.finish(process)
            self.assertEqual(130, code, err)
            self.assertIn('is left copying', err)

    def test_who_was_started_with_nohup_stays_deaf_to_hangup(self) -> None:
        process = self.start('answers', ignored='SIGHUP')
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGINT)
        code, _out, err = self.finish(process)
        self.assertEqual(5, code, err)
        self.assertNotIn('is left copying', err)
