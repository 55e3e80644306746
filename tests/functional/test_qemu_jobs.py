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
"""Block jobs that another tool began behind libvirt's back, by both monitors of a real QEMU."""

from __future__ import annotations

import signal
from typing import Any

import libvirt_qemu
import pytest

from tests.functional.base import MIB, LabTestCase
from tests.lab.deadline import wait_until
from tests.lab.guest.guest import Guest
from tests.lab.volumes import Volume

HMP = ('--monitor', 'hmp')


class OrphanTest(LabTestCase):
    def jobs(self, guest: Guest, *options: str) -> list[dict[str, Any]]:
        """What ``qemu-jobs`` lists."""
        listed = self.command.run('qemu-jobs', guest.name, '-f', 'json', *options)
        self.assert_ok(listed)
        return list(listed.json)

    def job(self, guest: Guest, name: str, *options: object) -> None:
        """Do something with a job."""
        self.assert_ok(self.command.run('qemu-job', guest.name, name, *options))

    def node(self, guest: Guest) -> str:
        """The node that ``vda`` is on."""
        return str(guest.monitor('query-block')[0]['inserted']['node-name'])

    def begun(self, guest: Guest) -> Volume:
        """Another tool's ``drive-mirror`` to an NBD server, slow, as its scripts do it."""
        volume = self.volume('nbd')
        data = volume.connection_info()['data']
        guest.monitor(
            'drive-mirror', **{'job-id': 'nightly'}, device=self.node(guest), sync='full',
            target=f'nbd:{data["host"]}:{data["port"]}:exportname={data["export"]}',
            format='raw', mode='existing', speed=MIB,
        )  # fmt: skip
        return volume

    def let_go(self, *monitor: str) -> None:
        source = self.volume('file', filled=True)
        guest = self.writing_guest(source)
        volume = self.begun(guest)
        (found,) = self.jobs(guest, *monitor)
        self.assertEqual(
            ('nightly', 'nobody', 'mirror'), (found['job'], found['owner'], found['type'])
        )
        self.job(guest, 'nightly', '--speed', '256MiB', *monitor)
        self.assertEqual(256 * MIB, guest.monitor('query-block-jobs')[0]['speed'])
        self.job(guest, 'nightly', '--speed', '0', *monitor)
        wait_until(lambda: guest.monitor('query-block-jobs')[0]['ready'], 60, 'the job is ready')
        self.assertEqual('yes', self.jobs(guest)[0]['ready'])
        before = guest.acked()
        self.job(guest, 'nightly', '--cancel', *monitor)
        self.assertEqual([], self.jobs(guest))
        self.assert_copied(volume, before)
        self.assert_on(guest, source)
        self.assert_survived(guest, source)

    def test_by_the_monitor_for_programs(self) -> None:
        self.let_go()

    def test_by_the_monitor_for_people(self) -> None:
        """It limits and ends a job; it can begin none of a guest of today, and tells no READY."""
        self.let_go(*HMP)

    def test_the_monitor_for_people_begins_none(self) -> None:
        guest = self.guest(self.volume('file', filled=True))
        target = self.volume('file').read_back()
        line = f'drive_mirror -n -f {self.node(guest)} {target} raw'
        answer = libvirt_qemu.qemuMonitorCommand(guest.domain, line, 1)
        self.assertIn("Invalid job ID ''", answer)
        self.assertEqual([], guest.monitor('query-block-jobs'))

    @pytest.mark.campaign
    def test_what_somebody_knows_of_is_left_to_him(self) -> None:
        source = self.volume('file', filled=True)
        guest = self.writing_guest(source)
        for options, owner in ((), 'libvirt'), (('--method', 'qmp'), 'swap'):
            volume = self.volume('nfs')
            running = self.command.start(
                'copy', guest.name, 'vda', self.connection(volume), '--wait', '--finish',
                '--bandwidth', 4 * MIB, '--bytes', '--events', 'jsonl', *options,
            )  # fmt: skip
            running.wait_copied(8 * MIB)
            (found,) = self.jobs(guest)
            self.assertIn(owner, found['owner'])
            for action in ('--cancel',), ('--speed', '0'):
                for monitor in (), HMP:
                    self.assert_error(
                        self.command.run('qemu-job', guest.name, found['job'], *action, *monitor),
                        3,
                        f'belongs to {owner}',
                    )
            self.assertEqual(4 * MIB, guest.monitor('query-block-jobs')[0]['speed'])
            running.kill(signal.SIGINT)
            self.assertEqual(5, running.wait().code)
        self.assert_error(
            self.command.run('qemu-job', guest.name, 'nightly', '--cancel'), 3, 'nightly'
        )
        self.assert_survived(guest, source)

    def test_a_swap_whose_journal_is_lost(self) -> None:
        """Nothing tells of the copy any more but QEMU; it is ended, and nothing is left there."""
        source = self.volume('file', filled=True)
        guest = self.writing_guest(source)
        volume = self.volume('rbd', give_keyring=True)
        running = self.command.start(
            'copy', guest.name, 'vda', self.connection(volume), '--method', 'qmp', '--wait',
            '--finish', '--bandwidth', 4 * MIB, '--bytes', '--events', 'jsonl',
        )  # fmt: skip
        running.wait_copied(8 * MIB)
        running.kill(signal.SIGKILL)
        running.wait()
        for path in self.command.journal_path.parent.glob('journal.sqlite*'):
            path.unlink()
        (found,) = self.jobs(guest)
        self.assertEqual('nobody', found['owner'])
        self.job(guest, found['job'], '--cancel')
        self.assertEqual([], self.jobs(guest))
        self.assert_gone_from_qemu(guest)
        self.assert_survived(guest, source)
