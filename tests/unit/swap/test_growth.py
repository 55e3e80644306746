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
"""Growing a disk: what is refused, and in which order it is done."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import fixtures
import testtools

from blockmirror_driver import exception
from blockmirror_driver.model import Bytes, Disk, Driver, Encryption
from blockmirror_driver.swap import growth
from blockmirror_driver.swap.journal import Journal
from blockmirror_driver.virt import unslice
from blockmirror_driver.virt.monitor import Monitor
from blockmirror_driver.xml import domain as xml_domain
from tests.unit.fakes import FakeDomain, FakeHypervisor
from tests.unit.mirror.pieces import job, live, mirror

OLD, NEW = Bytes(100), Bytes(164)
SLICED = replace(live(), disk=replace(live().disk, slice_size=OLD))


class GrowthTest(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.hypervisor = FakeHypervisor()
        self.domain = self.hypervisor.add(FakeDomain())
        self.domain.live['vda'] = self.domain.stored['vda'] = SLICED
        self.domain.capacities['vda'] = OLD
        self.domain.stored_xml = f'<domain><devices>{SLICED.disk.to_xml()}</devices></domain>'
        home = self.useFixture(fixtures.TempDir()).path
        self.journal = Journal(Path(home) / 'journal.sqlite')
        self.addCleanup(self.journal.close)
        self.steps: list[str] = []
        self.useFixture(
            fixtures.MockPatchObject(unslice, 'storage_size', lambda _domain, _disk: NEW)
        )
        self.useFixture(fixtures.MockPatchObject(unslice, 'unslice', self._unslice))

    def _unslice(self, _domain: object, _disk: object) -> None:
        self.steps = [call[0] for call in self.domain.calls if call[0] == 'rewrite_stored']

    def grow(self) -> Bytes:
        return growth.grow(self.hypervisor, self.journal, self.domain.name, 'vda')

    def refused(self, error: type[Exception], words: str) -> None:
        raised = self.assertRaises(error, self.grow)
        self.assertIn(words, str(raised))
        self.assertNotIn('resize', [call[0] for call in self.domain.calls])
        self.assertNotIn('rewrite_stored', [call[0] for call in self.domain.calls])

    def test_the_stored_definition_comes_first(self) -> None:
        self.assertEqual(NEW, self.grow())
        self.assertEqual(['rewrite_stored'], self.steps)

    def test_no_part_of_a_volume(self) -> None:
        self.domain.live['vda'] = live()
        self.refused(exception.WrongState, 'not a part')

    def test_has_it_all(self) -> None:
        self.domain.capacities['vda'] = NEW
        self.refused(exception.WrongState, '164 bytes')

    def test_encrypted_or_not_raw(self) -> None:
        for changes in ({'encryption': Encryption(None)}, {'driver': Driver(format='qcow2')}):
            disk: Disk = replace(SLICED.disk, **changes)
            self.domain.live['vda'] = replace(SLICED, disk=disk, format=disk.driver.format)
            self.refused(exception.UnsupportedVolume, 'can not be grown')

    def test_at_work(self) -> None:
        self.domain.live['vda'] = replace(SLICED, mirror=mirror())
        self.refused(exception.DiskBusy, 'block job')
        self.domain.live['vda'] = SLICED
        self.domain.jobs['vda'] = job()
        self.refused(exception.DiskBusy, 'block job')


class UnsliceTest(testtools.TestCase):
    def test_what_qemu_is_told(self) -> None:
        node = {
            'ro': False,
            'cache': {'direct': True, 'no-flush': False, 'writeback': True},
            'detect_zeroes': 'unmap',
            'node-name': 'libvirt-3-format',
        }
        storage = {'node-name': 'libvirt-3-storage', 'image': {'virtual-size': 164}}
        qdev = '/machine/peripheral/virtio-disk0/virtio-backend'
        answers: dict[str, Any] = {
            'query-named-block-nodes': [node, storage],
            'query-block': [{'qdev': qdev, 'inserted': node}],
        }
        said: list[tuple[str, object]] = []

        def execute(_self: Monitor, command: str, arguments: object = None) -> Any:
            said.append((command, arguments))
            return answers.get(command)

        disk = replace(SLICED, disk=replace(SLICED.disk, driver=Driver(discard='unmap')))
        domain = FakeHypervisor().add(FakeDomain())
        with mock.patch.object(Monitor, 'execute', execute):
            self.assertEqual(164, unslice.storage_size(domain, disk))
            unslice.unslice(domain, disk)
            options = {
                'driver': 'raw',
                'node-name': 'libvirt-3-format',
                'file': 'libvirt-3-storage',
                'read-only': False,
                'cache': {'direct': True, 'no-flush': False},
                'detect-zeroes': 'unmap',
                'discard': 'unmap',
            }
            self.assertEqual(('blockdev-reopen', {'options': [options]}), said[-1])
            node['node-name'] = 'somebody-s'
            self.assertRaises(exception.WrongState, unslice.unslice, domain, disk)
            self.assertNotIn('blockdev-reopen', [command for command, _ in said[8:]])


class WithoutSlicesTest(testtools.TestCase):
    def test_only_that_disk_loses_them(self) -> None:
        one = (
            "<disk type='file'><source file='/{0}'><slices><slice type='storage' offset='0' "
            "size='100'/></slices></source><target dev='{0}'/></disk>"
        )
        text = f'<domain><devices>{one.format("vda")}{one.format("vdb")}</devices></domain>'
        edited = xml_domain.without_slices(text, 'vda')
        sizes = {dev: xml_domain.find(edited, dev).disk.slice_size for dev in ('vda', 'vdb')}
        self.assertEqual({'vda': None, 'vdb': 100}, sizes)
        self.assertRaises(exception.DiskNotFound, xml_domain.without_slices, text, 'vdc')
