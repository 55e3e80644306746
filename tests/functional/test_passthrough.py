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
"""Copies by QEMU's own commands, which libvirt does not see, on real parts."""

from __future__ import annotations

import json
import signal

import pytest

from tests.functional.base import FILLED, MIB, SIZE, LabTestCase
from tests.functional.command import Result, Running
from tests.lab import oracle
from tests.lab.guest.guest import Guest
from tests.lab.volumes import Volume

QMP = ('--method', 'qmp')
FINISH = ('--wait', '--finish')


class PassthroughTest(LabTestCase):
    def copy(self, guest: Guest, destination: object, *options: object) -> Result:
        """Run ``blockmirror copy`` by passthrough."""
        return self.command.run('copy', guest.name, 'vda', destination, *QMP, *options)

    def begun(self, guest: Guest, destination: str) -> Running:
        """A slow copy that is to be finished, some of it moved."""
        running = self.command.start(
            'copy', guest.name, 'vda', destination, *QMP, *FINISH,
            '--bandwidth', 4 * MIB, '--bytes', '--events', 'jsonl',
        )  # fmt: skip
        running.wait_copied(8 * MIB)
        return running

    def names(self, kind: str) -> tuple[Volume, str]:
        """A volume, and a name of QEMU's for it that libvirt can't take."""
        if kind == 'json':
            volume = self.volume('file')
            described = {'driver': 'file', 'filename': str(volume.read_back()), 'aio': 'threads'}
            return volume, f'json:{json.dumps(described)}'
        if kind == 'nbd':
            volume = self.volume('nbd')
            data = volume.connection_info()['data']
            return volume, f'nbd:{data["host"]}:{data["port"]}:exportname={data["export"]}'
        volume = self.volume('rbd', give_keyring=True)
        data = volume.connection_info()['data']
        name = f'rbd:{data["name"]}:mon_host={data["hosts"][0]}\\:{data["ports"][0]}'
        if kind == 'rbd without cephx':
            return volume, f'{name}:auth_supported=none'
        conf = self.lab.layout.scratch / f'{volume.id}.conf'
        keyring = self.lab.layout.scratch / f'{volume.id}.keyring'
        for path, text in (
            (keyring, data['keyring']),
            (conf, f'[global]\nkeyring = {keyring}\n'),
        ):
            path.write_text(text)
            self.addCleanup(path.unlink)
        return volume, f'{name}:id={data["auth_username"]}:auth_supported=cephx:conf={conf}'

    def finish_by_name(self, kind: str) -> None:
        source = self.volume('nfs', filled=True)
        guest = self.writing_guest(source)
        volume, name = self.names(kind)
        self.assert_error(self.copy(guest, name, '--wait', '--pivot'), 3, 'stored XML')
        self.assert_error(
            self.command.run('copy', guest.name, 'vda', name, *FINISH), 3, 'no name', 'qmp'
        )
        before = guest.acked()
        self.assert_ok(self.copy(guest, name, *FINISH))
        self.assert_copied(volume, before)
        guest.wait_acked(20)
        self.assert_on(guest, source)
        self.assert_gone_from_qemu(guest)
        self.assert_nothing_left(guest)
        self.assert_survived(guest, source)

    def test_finish_to_nbd_by_name(self) -> None:
        self.finish_by_name('nbd')

    @pytest.mark.campaign
    def test_finish_to_json(self) -> None:
        self.finish_by_name('json')

    def test_finish_to_rbd_with_cephx(self) -> None:
        self.finish_by_name('rbd with cephx')

    @pytest.mark.campaign
    def test_finish_to_rbd_without_cephx(self) -> None:
        self.addCleanup(self.lab.ceph.allow, 'cephx')
        self.lab.ceph.allow('cephx, none')
        self.finish_by_name('rbd without cephx')

    @pytest.mark.campaign
    def test_steered(self) -> None:
        """Progress, another speed, hold, finish; QEMU's user is not root's."""
        source = self.volume('file', filled=True)
        guest = self.writing_guest(source)
        volume = self.volume('rbd', give_keyring=True)
        running = self.begun(guest, self.connection(volume))
        job = guest.monitor('query-block-jobs')[0]
        self.assertEqual(('mirror', 4 * MIB, False), (job['type'], job['speed'], job['ready']))
        self.assert_error(self.swap(guest, self.volume('nfs')), 3, 'swap', 'of this disk')
        self.assert_ok(self.command.run('speed', self.swap_id(), '0'))
        running.wait_state('finished')
        self.assertEqual(0, running.wait().code)
        self.assert_gone_from_qemu(guest)
        self.assert_nothing_left(guest)
        self.assert_survived(guest, source)

    def test_cancelled(self) -> None:
        source = self.volume('rbd', filled=True)
        guest = self.writing_guest(source)
        volume = self.volume('nfs')
        running = self.begun(guest, self.connection(volume))
        self.assert_ok(self.command.run('cancel', self.swap_id()))
        self.assertEqual(5, running.wait().code)
        self.assert_gone_from_qemu(guest)
        self.assert_nothing_left(guest)
        self.assert_on(guest, source)
        self.assert_survived(guest, source)

    def test_killed_and_recovered(self) -> None:
        source = self.volume('iscsi', filled=True)
        guest = self.writing_guest(source)
        volume = self.volume('nfs')
        running = self.begun(guest, self.connection(volume))
        running.kill(signal.SIGKILL)
        running.wait()
        job = guest.monitor('query-block-jobs')[0]['device']
        guest.monitor('block-job-set-speed', device=job, speed=0)
        before = guest.acked()
        self.assert_ok(self.command.run('recover', self.swap_id(), '--finish'))
        self.assert_copied(volume, before)
        self.assert_gone_from_qemu(guest)
        self.assert_nothing_left(guest)
        self.assert_survived(guest, source)

    def test_the_reason_of_a_failure(self) -> None:
        """The server of the destination goes: QEMU's own words reach the operator."""
        source = self.volume('file', filled=True)
        guest = self.writing_guest(source)
        volume, name = self.names('nbd')
        running = self.begun(guest, name)
        volume.delete()
        self.assert_error(running.wait(), 6, 'Input/output error')
        self.assert_gone_from_qemu(guest)
        self.assert_nothing_left(guest)
        self.assert_survived(guest, source)

    def test_pivot_behind_libvirt(self) -> None:
        """Refused, then done; until the guest is powered off nothing of ours touches the disk."""
        source, volume = self.volume('file', filled=True), self.volume('rbd', give_keyring=True)
        guest = self.writing_guest(source)
        info = self.connection(volume)
        self.assert_error(
            self.copy(guest, info, '--wait', '--pivot'), 3, 'live XML', '--pivot-behind-libvirt'
        )
        self.assert_ok(self.copy(guest, info, '--wait', '--pivot', '--pivot-behind-libvirt'))
        guest.wait_acked(20)
        self.assertIn(volume.name, self.stored(guest))
        self.assertIn(source.name, self.live(guest))
        third = self.volume('nfs')
        self.assert_error(self.swap(guest, third), 3, 'behind libvirt', 'power the guest off')
        audited = self.command.run('audit', '-f', 'json', '--repair', guest.name)
        self.assertEqual(7, audited.code, audited.err)
        self.assertIn('behind libvirt', audited.out + audited.err)
        self.assertIn(volume.name, self.stored(guest))
        stat = guest.stop_writers()
        self.assertEqual(0, stat.errors)
        report = oracle.check(volume.read_back(), guest.acked(), FILLED, exact=True)
        self.assertTrue(report.ok, report)
        guest.poweroff()
        guest.boot()
        self.assert_on(guest, volume)
        guest.start_writers(blocks=256, delay_us=2000)
        guest.wait_acked(20)
        self.assert_ok(self.swap(guest, third))
        self.assert_on(guest, third)
        self.assert_survived(guest, third)
        self.assert_nothing_left(guest)

    def stored(self, guest: Guest) -> str:
        """The stored definition."""
        return str(guest.domain.XMLDesc(2))

    def live(self, guest: Guest) -> str:
        """The definition that libvirt believes in."""
        return str(guest.domain.XMLDesc(0))

    def test_bad_names(self) -> None:
        source = self.volume('file', filled=True)
        guest = self.guest(source)
        for name, words in (
            ('nbd:', 'host and a port'),
            ('rbd:pool', 'POOL/IMAGE'),
            ('rbd:p/i:key=AQBsecret', 'no secret'),
            ('rbd:p/i:nonsense=1', 'nonsense'),
            ('json:{', 'JSON'),
            ('json:{"driver":"qcow2","file":{"driver":"file","filename":"/x"}}', 'storage'),
            ('json:{"driver":"ssh","password":"x"}', 'no secret'),
        ):
            self.assert_error(self.copy(guest, name, *FINISH), 2, words)
        missing = 'json:{"driver":"file","filename":"/nonexistent"}'
        self.assert_error(self.copy(guest, missing, *FINISH), 3, 'No such file')
        small = self.volume('file', SIZE - MIB)
        self.assert_error(
            self.copy(
                guest, f'json:{{"driver":"file","filename":"{small.read_back()}"}}', *FINISH
            ),
            3,
            f'{MIB} bytes too small',
        )
        self.assertEqual({}, guest.domain.blockJobInfo('vda', 0) or {})
