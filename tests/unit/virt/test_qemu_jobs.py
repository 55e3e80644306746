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
"""QEMU's block jobs by its two monitors."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from unittest import mock

import testtools
from hypothesis import given
from hypothesis import strategies as st

from blockmirror_driver import exception
from blockmirror_driver.model import Bytes, BytesPerSecond
from blockmirror_driver.virt import monitor as virt_monitor
from blockmirror_driver.virt.monitor import Monitor
from blockmirror_driver.virt.qemu_jobs import HmpJobs, QemuJob, QmpJobs, parse
from tests.unit.fakes import FakeDomain, FakeHypervisor

#: As QEMU 7.2 prints it.
LINE = 'Type mirror, device nightly: Completed 3 of 9 bytes, speed limit 1048576 bytes/s\r\n'

JOB = QemuJob('nightly', 'mirror', Bytes(3), Bytes(9), BytesPerSecond(1048576))


class ParseTest(testtools.TestCase):
    def test_jobs(self) -> None:
        self.assertEqual((), parse('No active jobs\r\n'))
        self.assertEqual((JOB, JOB), parse(LINE + LINE))

    def test_other_words(self) -> None:
        for text in ('', 'Type mirror, dev', LINE + 'more', LINE.replace('3', '٣')):
            error = self.assertRaises(exception.Refused, parse, text)
            self.assertIn('--monitor qmp', error.hint)

    @given(st.text())
    def test_any_text(self, text: str) -> None:
        try:
            found = parse(text)
        except exception.Refused:
            return
        self.assertEqual(len([line for line in text.splitlines() if 'Type' in line]), len(found))


class MonitorTest(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.domain = FakeHypervisor().add(FakeDomain())
        self.said: list[Any] = []

    def human(self, line: str) -> str:
        assert virt_monitor.HUMAN_COMMANDS.fullmatch(line), line
        self.said.append(line)
        return LINE

    def test_people(self) -> None:
        jobs = HmpJobs(self.domain)
        with mock.patch.object(Monitor, 'human', lambda _self, line: self.human(line)):
            self.assertEqual(['nightly'], [job.id for job in jobs.jobs()])
            jobs.set_speed('nightly', BytesPerSecond(4096))
            jobs.cancel('nightly')
            for name in ('a b', '-f', 'a\nquit', 'a;quit', '', 'ä'):
                self.assertRaises(exception.UsageError, jobs.cancel, name)
                self.assertRaises(exception.UsageError, jobs.set_speed, name, BytesPerSecond(1))
        self.assertEqual(
            [
                'info block-jobs',
                'block_job_set_speed nightly 4096B',
                'block_job_cancel nightly',
            ],
            self.said,
        )

    def test_programs(self) -> None:
        told = {
            'device': 'nightly', 'type': 'mirror', 'offset': 3, 'len': 9, 'speed': 5,
            'ready': True, 'status': 'ready', 'error': 'No\nspace',
        }  # fmt: skip

        def execute(_self: Monitor, command: str, arguments: object = None) -> Any:
            self.said.append((command, arguments))
            return [told]

        jobs = QmpJobs(self.domain)
        with mock.patch.object(Monitor, 'execute', execute):
            found = replace(
                JOB, speed=BytesPerSecond(5), ready=True, status='ready', error='No space'
            )
            self.assertEqual((found,), jobs.jobs())
            jobs.set_speed('nightly', BytesPerSecond(4096))
            jobs.cancel('nightly')
        self.assertEqual(
            [
                ('block-job-set-speed', {'device': 'nightly', 'speed': 4096}),
                ('block-job-cancel', {'device': 'nightly'}),
            ],
            self.said[1:],
        )

    def test_nothing_else_is_said_to_the_monitor_for_people(self) -> None:
        for line in (
            'quit',
            'info block-jobs\nquit',
            'block_job_cancel a b',
            'block_job_set_speed a 5',
            'block_job_complete a',
            'drive_mirror a b',
        ):
            self.assertIsNone(virt_monitor.HUMAN_COMMANDS.fullmatch(line), line)
