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
"""What is read of logs and processes."""

from __future__ import annotations

import os
import sys
import tempfile
import textwrap
from pathlib import Path

import testtools

from tests.bench import machine, measured
from tests.bench.monitor_log import read, ready_times, watched
from tests.bench.programs import Program
from tests.lab.layout import LabError

_EVENT = (
    '2026-11-26 10:00:0{0}.200+0000: 7: info : qemuMonitorJSONIOProcessLine:208 : '
    'QEMU_MONITOR_RECV_EVENT: mon=0x1 event={{"timestamp": {{"seconds": {1}, '
    '"microseconds": {2}}}, "event": "{3}", "data": {{"device": "copy-vdb"}}}}\n'
)
_CALL = (
    '2026-11-26 10:00:02.25{0}+0000: 9: debug : virDomainBlockJobAbort:10178 : dom=0x1, '
    '(VM: name=g, uuid=u), disk=vdb, flags=0x{1}\n'
)
_START = (
    '2026-11-26 10:00:01.700+0000: 9: debug : virDomainBlock{}:10577 : dom=0x1, (VM: name=g, '
    'uuid=u), disk=vdb\n'
)
#: 2026-11-26 10:00:02 UTC
_TWO = 1795687202
READY = _EVENT.format(2, _TWO, 200500, 'BLOCK_JOB_READY')
COMPLETED = _EVENT.format(2, _TWO, 280000, 'BLOCK_JOB_COMPLETED')


class MachineTest(testtools.TestCase):
    def test_what_all_cores_did(self) -> None:
        stat = 'cpu  100 20 300 4000 50 6 7 80 9 0\ncpu0 1 2 3 4 5 6 7 8 9 10\nintr 5\n'
        self.assertEqual({'busy': 5.13, 'waiting': 0.5}, machine.parse(stat, 100))


class MonitorLogTest(testtools.TestCase):
    def test_the_moments_of_a_copy(self) -> None:
        found = read(['noise\n', READY, _CALL.format(0, 2), COMPLETED])
        assert found.request_s is not None
        assert found.pivot_s is not None
        self.assertAlmostEqual(0.0495, found.request_s, places=5)
        self.assertAlmostEqual(0.030, found.pivot_s, places=5)

    def test_when_it_was_begun(self) -> None:
        for way in ('Copy', 'Rebase'):
            found = read([_START.format(way), READY, _CALL.format(0, 2), COMPLETED])
            assert found.copy_s is not None
            self.assertAlmostEqual(0.5005, found.copy_s, places=5)

    def test_an_abort_is_no_request(self) -> None:
        found = read([_CALL.format(0, 0), READY, _CALL.format(3, 2), COMPLETED])
        assert found.request_s is not None
        self.assertAlmostEqual(0.0525, found.request_s, places=5)

    def test_what_was_not_logged(self) -> None:
        self.assertEqual((None, None), (read([]).request_s, read([READY]).pivot_s))

    def test_several_that_are_ready(self) -> None:
        later = _EVENT.format(3, _TWO + 1, 0, 'BLOCK_JOB_READY')
        self.assertEqual([_TWO + 0.2005, _TWO + 1.0], ready_times([later, COMPLETED, READY]))

    def test_what_stood_there_before_is_not_read(self) -> None:
        with tempfile.NamedTemporaryFile('w') as log:
            log.write(READY)
            log.flush()
            with watched(Path(log.name)) as seen:
                log.write(_CALL.format(0, 2) + COMPLETED)
                log.flush()
            self.assertEqual((True, False), (seen.ready is None, seen.completed is None))


class ProcessTest(testtools.TestCase):
    def test_what_a_command_used(self) -> None:
        script = 'data = bytearray(50 << 20); data[::4096] = bytes(len(data[::4096])); sum(data)'
        used = measured.run([sys.executable, '-c', script], 60)
        self.assertGreater(used.peak_kib, 50 << 10)
        self.assertGreater(used.cpu_s, 0)
        self.assertGreaterEqual(used.seconds, 0)

    def test_a_command_that_fails(self) -> None:
        argv = [sys.executable, '-c', 'raise SystemExit("no such luck")']
        error = self.assertRaises(LabError, measured.run, argv, 60)
        self.assertIn('no such luck', str(error))

    def test_a_process_that_runs(self) -> None:
        self.assertGreater(measured.status(os.getpid(), 'VmHWM'), 0)
        self.assertGreaterEqual(measured.cpu_s(os.getpid()), 0)


class ProgramTest(testtools.TestCase):
    SCRIPT = textwrap.dedent(
        """
        from tests.bench.programs import own_stdout, serve
        answers = own_stdout()
        print('this is no answer')
        serve(lambda asked: {'twice': 2 * asked['number']}, answers)
        """
    )

    def setUp(self) -> None:
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        argv = [sys.executable, '-c', self.SCRIPT]
        self.program = Program('test', argv, Path(folder.name) / 'log')
        self.addCleanup(self.program.close)

    def test_it_answers_more_than_once(self) -> None:
        for number in (1, 2):
            self.assertEqual({'twice': 2 * number}, self.program.ask({'number': number}, 30))

    def test_an_error_is_one_for_who_asked(self) -> None:
        error = self.assertRaises(LabError, self.program.ask, {}, 30)
        self.assertIn("KeyError: 'number'", str(error))
        self.assertEqual({'twice': 6}, self.program.ask({'number': 3}, 30))

    def test_one_that_has_ended(self) -> None:
        self.program.process.kill()
        self.program.process.wait()
        self.assertRaises(LabError, self.program.ask, {'number': 1}, 30)
