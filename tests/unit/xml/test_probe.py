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
"""The throwaway domain is like the guest where that matters, and nothing more."""

from __future__ import annotations

from blockmirror_driver import exception
from blockmirror_driver.model import Disk
from blockmirror_driver.xml import document, probe
from blockmirror_driver.xml import domain as xml_domain
from tests.unit.xml import disks
from tests.unit.xml.schema import SchemaTestCase
from tests.unit.xml.test_domain import LIVE, STORED

LABELS = """
<seclabel type='dynamic' model='dac' relabel='yes'>
  <label>+107:+107</label><imagelabel>+107:+107</imagelabel>
</seclabel>
<seclabel type='dynamic' model='apparmor' relabel='yes'>
  <label>libvirt-x</label><imagelabel>libvirt-x</imagelabel>
</seclabel>
<seclabel type='static' model='selinux' relabel='no'>
  <label>system_u:system_r:svirt_t:s0:c1</label><imagelabel>i</imagelabel>
</seclabel>
<seclabel type='none' model='smack'/>
</domain>"""


class TestProbe(SchemaTestCase):
    def build(self, disk: Disk, like: str | None, **options: bool) -> str:
        text = probe.build(disk, name='p-1', uuid=disks.UUID, like_domain_xml=like, **options)
        self.assert_valid_domain(text)
        return text

    def test_every_kind_of_source(self) -> None:
        for name, source in disks.SOURCES.items():
            with self.subTest(name):
                text = self.build(Disk(source), LIVE)
                self.assertEqual(source, xml_domain.find(text, 'vda').disk.source)
                self.assertEqual(('p-1', disks.UUID), xml_domain.identity(text))

    def test_like_the_guest(self) -> None:
        text = self.build(disks.FULL, LIVE.replace("type='qemu'", "type='kvm'", 1))
        self.assertEqual('kvm', document.parse(text, 'domain').get('type'))
        for part in ('machine="pc-q35-7.2"', '/usr/bin/qemu-system-x86_64'):
            self.assertIn(part, text)

    def test_without_a_guest(self) -> None:
        text = self.build(disks.FULL, None)
        self.assertEqual('qemu', document.parse(text, 'domain').get('type'))

    def test_only_the_disk(self) -> None:
        found = xml_domain.disks(self.build(disks.FULL, LIVE))
        self.assertEqual(1, len(found))
        disk = found[0].disk
        self.assertTrue(disk.readonly)
        self.assertEqual(('sdb', 'virtio', 'disk'), (disk.target_dev, disk.bus, disk.device))
        self.assertEqual((None, None, False), (disk.serial, disk.iotune, disk.shareable))
        self.assertEqual(disks.FULL.driver, disk.driver)

    def test_writable(self) -> None:
        self.assertNotIn('<readonly', self.build(disks.FULL, LIVE, read_only=False))

    def test_a_disk_to_be_unplugged(self) -> None:
        text = self.build(disks.FULL, LIVE, read_only=False, pluggable=True)
        (found,) = xml_domain.disks(text)
        self.assertEqual(('scsi', False), (found.disk.bus, found.disk.readonly))
        self.assertIn('<controller type="scsi" model="virtio-scsi"/>', text)
        self.assertNotIn('"scsi"', self.build(disks.FULL, LIVE))

    def test_what_libvirt_is_to_spare(self) -> None:
        self.assertIn(f'<qemu:del capability="{probe.SPARED}"/>', self.build(disks.FULL, LIVE))
        self.assertNotIn('qemu:', self.build(disks.FULL, LIVE, sparing=False))

    def test_labels(self) -> None:
        text = self.build(disks.FULL, LIVE.replace('</domain>', LABELS))
        self.assertIn('<label>+107:+107</label>', text)
        self.assertIn('<label>system_u:system_r:svirt_t:s0:c1</label>', text)
        self.assertIn('<seclabel type="none" model="smack"/>', text)
        for part in ('libvirt-x', 'imagelabel', 'dynamic'):
            self.assertNotIn(part, text)

    def test_no_label_no_seclabel(self) -> None:
        self.assertNotIn('seclabel', self.build(disks.FULL, STORED))

    def test_refused(self) -> None:
        with self.assertRaises(exception.InvalidDisk):
            probe.build(disks.FULL, name='p', uuid='x', like_domain_xml=None)
        with self.assertRaises(exception.InvalidDisk):
            probe.build(disks.FULL, name='p', uuid=disks.UUID, like_domain_xml='<disk/>')
