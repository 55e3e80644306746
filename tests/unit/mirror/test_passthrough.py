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
"""A copy that libvirt does not see, told in libvirt's terms."""

from __future__ import annotations

import queue
import unittest
from typing import Any, cast

from blockmirror_driver import exception
from blockmirror_driver.mirror import passthrough
from blockmirror_driver.mirror.options import CopyOptions
from blockmirror_driver.mirror.passthrough import Passthrough, View
from blockmirror_driver.model import BytesPerSecond, Disk, FileSource
from blockmirror_driver.virt.events import BlockJobEvent, BlockJobStatus
from blockmirror_driver.virt.monitor import Monitor
from tests.unit.fakes import FakeDomain, FakeHypervisor
from tests.unit.mirror.pieces import SOURCE, job, live

ID = '0123456789abcdef'
DESTINATION = Disk(source=FileSource('/volumes/new'))


class Qemu(Monitor):
    """Answers as QEMU does: jobs, devices, and what it was told."""

    def __init__(self) -> None:
        self.jobs: list[dict[str, Any]] = []
        self.node = 'libvirt-1-format'
        self.said: list[tuple[str, dict[str, Any]]] = []
        self.refuses: dict[str, str] = {}

    def execute(
        self, command: str, arguments: dict[str, Any] | None = None, **_options: object
    ) -> Any:
        self.said.append((command, arguments or {}))
        if command in self.refuses:
            raise exception.Refused(self.refuses[command])
        if command == 'query-block-jobs':
            return self.jobs
        if command == 'query-block':
            qdev = '/machine/peripheral/virtio-disk0/virtio-backend'
            return [{'qdev': qdev, 'inserted': {'node-name': self.node}}, {'qdev': '/x'}]
        return {}

    def job(self, status: str = 'running', *, ready: bool = False, error: str = '') -> None:
        job = {'device': 'bm-01234567', 'status': status, 'ready': ready, 'speed': 7}
        self.jobs = [{**job, 'offset': 3, 'len': 9, **({'error': error} if error else {})}]

    def words(self) -> list[str]:
        return [command for command, _arguments in self.said if not command.startswith('query')]


class PassthroughTestCase(unittest.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.hypervisor = FakeHypervisor()
        seen = self.hypervisor.add(FakeDomain())
        seen.live['vda'] = live()
        self.seen = seen
        self.qemu = Qemu()
        self.view = View(ID, 'vda', DESTINATION)
        self.domain = Passthrough(self.view, seen)
        self.domain._monitor = self.qemu
        self.events = self.hypervisor.subscribe()

    def told(self) -> list[BlockJobEvent]:
        found = []
        while True:
            try:
                found.append(cast('BlockJobEvent', self.events.queue.get_nowait()))
            except queue.Empty:
                return found


class Reading(PassthroughTestCase):
    def test_no_job(self) -> None:
        self.assertIsNone(self.domain.job('vda'))
        self.assertEqual(self.seen.live_disk('vda'), self.domain.live_disk('vda'))

    def test_a_job_that_copies(self) -> None:
        self.qemu.job()
        found = self.domain.job('vda')
        assert found is not None
        self.assertEqual((2, 7, 3, 9), (found.type, found.bandwidth, found.cur, found.end))
        mirror = self.domain.live_disk('vda').mirror
        assert mirror is not None
        self.assertEqual((DESTINATION.source, 'no'), (mirror.source, mirror.ready))

    def test_what_was_asked_for_is_told_until_it_has_happened(self) -> None:
        for ask, ready in ((self.domain.pivot, 'pivot'), (self.domain.abort, 'abort')):
            self.qemu.job('ready', ready=True)
            self.view.asked = None
            self.assertEqual('yes', self.domain.live_disk('vda').mirror.ready)  # type: ignore[union-attr]
            ask('vda')
            self.assertEqual(ready, self.domain.live_disk('vda').mirror.ready)  # type: ignore[union-attr]

    def test_how_it_ended_is_told_once(self) -> None:
        for node, error, status in (
            ('libvirt-1-format', 'No space left on device', BlockJobStatus.FAILED),
            ('libvirt-1-format', '', BlockJobStatus.CANCELED),
            ('bm-01234567-format', '', BlockJobStatus.COMPLETED),
        ):
            with self.subTest(status):
                self.view.told, self.qemu.node = False, node
                self.qemu.job('concluded', error=error)
                disks = [self.domain.live_disk('vda') for _ in range(2)]
                event = BlockJobEvent(self.seen.uuid, 'vda', 2, status, error)
                self.assertEqual([event], self.told())
                wanted = DESTINATION.source if status is BlockJobStatus.COMPLETED else SOURCE
                self.assertEqual([wanted, wanted], [one.disk.source for one in disks])
                self.assertEqual([None, None], [one.mirror for one in disks])
                self.assertIsNone(self.domain.job('vda'))

    def test_another_disk_is_libvirt_s(self) -> None:
        self.qemu.job()
        self.seen.jobs['vdb'] = job()
        for call in (self.domain.pivot, self.domain.abort):
            call('vdb')
        self.domain.set_speed('vdb', BytesPerSecond(5))
        self.assertEqual([], self.qemu.said)


class Starting(PassthroughTestCase):
    def test_what_is_said(self) -> None:
        options = CopyOptions(method='qmp', bandwidth=BytesPerSecond(5), synchronous_writes=True)
        self.domain.mirror(options)
        self.assertEqual(['blockdev-add', 'blockdev-mirror'], self.qemu.words())
        added, mirrored = (a for c, a in self.qemu.said if not c.startswith('query'))
        self.assertEqual('bm-01234567-format', added['node-name'])
        self.assertEqual(
            {
                'job-id': 'bm-01234567',
                'device': 'libvirt-1-format',
                'target': 'bm-01234567-format',
                'sync': 'full',
                'auto-dismiss': False,
                'copy-mode': 'write-blocking',
                'speed': 5,
            },
            mirrored,
        )

    def test_zeroes_that_need_not_be_written(self) -> None:
        self.domain.mirror(CopyOptions(method='qmp', target_zeroed=True))
        command, told = self.qemu.said[-1]
        self.assertEqual(('blockdev-mirror', True), (command, told['target-is-zero']))

    def test_what_qemu_refuses_is_taken_away_again(self) -> None:
        for command in ('blockdev-add', 'blockdev-mirror'):
            self.qemu.said.clear()
            self.qemu.refuses = {command: 'no such file'}
            with self.assertRaisesRegex(exception.DestinationUnusable, 'no such file'):
                self.domain.mirror(CopyOptions(method='qmp'))
            self.assertEqual(
                ['job-dismiss', 'blockdev-del', 'object-del', 'object-del'],
                self.qemu.words()[-4:],
            )

    def test_one_job_at_a_time(self) -> None:
        self.qemu.job()
        with self.assertRaises(exception.DiskBusy):
            self.domain.mirror(CopyOptions(method='qmp'))
        self.assertEqual([], self.qemu.words())

    def test_letting_go_takes_refusals_for_an_answer(self) -> None:
        self.qemu.refuses = dict.fromkeys(('job-dismiss', 'blockdev-del', 'object-del'), 'no')
        self.domain.let_go()
        self.assertEqual(4, len(self.qemu.words()))

    def test_the_pace_without_events(self) -> None:
        self.assertEqual(1.0, passthrough.options_for(CopyOptions(method='qmp')).poll_interval)
        self.assertEqual(5.0, passthrough.options_for(CopyOptions()).poll_interval)
