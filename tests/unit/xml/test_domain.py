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
"""What is read from a domain's XML, and the repair of a stored one."""

from __future__ import annotations

import unittest
from dataclasses import replace

from blockmirror_driver import exception
from blockmirror_driver.model import (
    BlockSource,
    Disk,
    Encryption,
    FileSource,
    RbdSource,
    SecretRef,
    SecretUsage,
)
from blockmirror_driver.xml import document
from blockmirror_driver.xml import domain as xml_domain
from tests.unit.xml import disks
from tests.unit.xml.schema import SchemaTestCase

SECRET = '5a1d7c90-88f4-4c0e-a1f7-2b9b64f0d3e1'
TPM_SECRET = 'b2f0e6ad-7c55-4f35-9a3c-6f6f1f1e2d00'

LIVE = f"""
<domain type='qemu' id='3'>
  <name>guest</name>
  <uuid>{disks.UUID}</uuid>
  <memory>65536</memory>
  <os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type></os>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <disk type='network' device='disk'>
      <driver name='qemu' type='raw' cache='none'/>
      <source protocol='rbd' name='volumes/new' index='2'>
        <host name='10.1.0.1' port='6789'/>
        <auth username='cinder'><secret type='ceph' uuid='{SECRET}'/></auth>
        <privateData><nodenames/></privateData>
      </source>
      <backingStore/>
      <target dev='vda' bus='virtio'/>
      <serial>s-1</serial>
      <alias name='virtio-disk0'/>
    </disk>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2'/>
      <source file='/a/top.qcow2' index='1'/>
      <backingStore type='file' index='3'>
        <format type='raw'/><source file='/a/base.raw'/><backingStore/>
      </backingStore>
      <mirror type='block' job='copy' ready='yes'>
        <format type='raw'/><source dev='/dev/loop1' index='4'/>
      </mirror>
      <target dev='vdb' bus='virtio'/>
      <alias name='virtio-disk1'/>
    </disk>
    <disk type='block' device='disk'>
      <driver name='qemu' type='raw'/>
      <source dev='/dev/x'>
        <encryption format='luks'><secret type='passphrase' usage='luks of x'/></encryption>
      </source>
      <target dev='sda' bus='scsi'/>
    </disk>
    <disk type='file' device='cdrom'><target dev='sdb' bus='sata'/><readonly/></disk>
    <tpm model='tpm-crb'>
      <backend type='emulator' version='2.0'><encryption secret='{TPM_SECRET}'/></backend>
    </tpm>
  </devices>
</domain>
"""

STORED = f"""
<domain type='qemu'>
  <name>guest</name>
  <uuid>{disks.UUID}</uuid>
  <memory>65536</memory>
  <os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type></os>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2' cache='none' discard='unmap'/>
      <source file='/a/old.qcow2'/>
      <target dev='vda' bus='virtio'/>
      <serial>s-1</serial>
      <address type='pci' domain='0x0000' bus='0x04' slot='0x00' function='0x0'/>
    </disk>
  </devices>
</domain>
"""


class TestRead(unittest.TestCase):
    def test_all_disks_in_order(self) -> None:
        found = [d.disk.target_dev for d in xml_domain.disks(LIVE)]
        self.assertEqual(['vda', 'vdb', 'sda', 'sdb'], found)

    def test_a_plain_disk(self) -> None:
        found = xml_domain.find(LIVE, 'vda')
        self.assertIsInstance(found.disk.source, RbdSource)
        self.assertEqual(('virtio-disk0', 'raw', None), (found.alias, found.format, found.mirror))
        self.assertEqual('s-1', found.disk.serial)
        self.assertFalse(found.encrypted or found.has_backing)

    def test_a_disk_under_copy(self) -> None:
        found = xml_domain.find(LIVE, 'vdb')
        self.assertEqual(
            xml_domain.MirrorState(BlockSource('/dev/loop1'), 'copy', 'yes', 'raw'), found.mirror
        )
        self.assertTrue(found.has_backing)
        self.assertEqual('qcow2', found.format)

    def test_readiness(self) -> None:
        for text, ready in (('', 'no'), ("ready='pivot'", 'pivot'), ("ready='abort'", 'abort')):
            changed = LIVE.replace("ready='yes'", text)
            mirror = xml_domain.find(changed, 'vdb').mirror
            assert mirror is not None
            self.assertEqual(ready, mirror.ready)

    def test_a_mirror_whose_job_is_over(self) -> None:
        text = (
            "<domain><devices><disk><source file='/a'/><mirror type='file' job=''>"
            "<format type='raw'/><source file='/b'/></mirror><target dev='vda'/></disk>"
            '</devices></domain>'
        )
        found = xml_domain.find(text, 'vda').mirror
        assert found is not None
        self.assertTrue(found.is_over)
        running = xml_domain.find(text.replace("job=''", "job='copy'"), 'vda').mirror
        assert running is not None
        self.assertFalse(running.is_over)

    def test_an_old_mirror(self) -> None:
        text = (
            "<domain><devices><disk><source file='/a'/><mirror file='/b' format='qcow2'/>"
            "<target dev='vda'/></disk></devices></domain>"
        )
        expected = xml_domain.MirrorState(FileSource('/b'), 'copy', 'no', 'qcow2')
        self.assertEqual(expected, xml_domain.find(text, 'vda').mirror)
        empty = xml_domain.find(text.replace("file='/b'", ''), 'vda').mirror
        assert empty is not None
        self.assertIsNone(empty.source)

    def test_encryption(self) -> None:
        found = xml_domain.find(LIVE, 'sda')
        self.assertTrue(found.encrypted)
        self.assertEqual(BlockSource('/dev/x'), found.disk.source)
        cited = SecretRef(SecretUsage.VOLUME, usage='luks of x')
        self.assertEqual(Encryption(cited), found.disk.encryption)

    def test_identity(self) -> None:
        self.assertEqual(('guest', disks.UUID), xml_domain.identity(LIVE))
        self.assertEqual(('', ''), xml_domain.identity('<domain/>'))

    def test_no_such_disk(self) -> None:
        for text in (LIVE, '<domain/>', '<domain><devices><disk/></devices></domain>'):
            with self.assertRaises(exception.DiskNotFound):
                xml_domain.find(text, 'vdz')

    def test_what_is_no_domain(self) -> None:
        for text in ('', '<disk/>', 'x'):
            with self.assertRaises(exception.InvalidDisk):
                xml_domain.disks(text)

    def test_the_element_as_it_is(self) -> None:
        self.assertIn('<alias name="virtio-disk0"/>', xml_domain.disk_xml(LIVE, 'vda'))

    def test_cited_secrets(self) -> None:
        expected = {SECRET, 'luks of x', TPM_SECRET}
        self.assertEqual(expected, xml_domain.cited_secrets(LIVE))
        self.assertEqual(expected, xml_domain.cited_secrets(LIVE.replace(SECRET, SECRET.upper())))
        self.assertEqual(set(), xml_domain.cited_secrets('<domain/>'))


class TestWithDiskSource(SchemaTestCase):
    def setUp(self) -> None:
        self.live = xml_domain.find(LIVE, 'vda').disk

    def test_takes_source_and_format_and_keeps_the_rest(self) -> None:
        text = xml_domain.with_disk_source(STORED, 'vda', self.live, live_xml=LIVE)
        self.assert_valid_domain(text)
        disk = xml_domain.find(text, 'vda').disk
        self.assertEqual(self.live.source, disk.source)
        self.assertEqual('unmap', disk.driver.discard)
        self.assertEqual(('raw', 's-1'), (disk.driver.format, disk.serial))
        for part in ('<address ', "type='network'".replace("'", '"')):
            self.assertIn(part, text)
        for part in ('index=', 'privateData', 'alias', 'old.qcow2'):
            self.assertNotIn(part, text)

    def test_doing_it_twice_changes_nothing(self) -> None:
        once = xml_domain.with_disk_source(STORED, 'vda', self.live, live_xml=LIVE)
        again = xml_domain.with_disk_source(once, 'vda', self.live, live_xml=LIVE)
        self.assertEqual(once, again)

    def test_what_our_values_do_not_express_survives(self) -> None:
        live = xml_domain.find(LIVE, 'sda').disk
        stored = STORED.replace("'vda'", "'sda'")
        text = xml_domain.with_disk_source(stored, 'sda', live, live_xml=LIVE)
        self.assertIn('<encryption format="luks">', text)

    def test_a_source_without_a_domain(self) -> None:
        """The chosen side of a swap, from the journal, for a guest that is off."""
        chosen = Disk(FileSource('/b'))
        wrapped = f'<domain><devices>{chosen.to_xml()}</devices></domain>'
        text = xml_domain.with_disk_source(STORED, 'vda', chosen, live_xml=wrapped)
        self.assertEqual(FileSource('/b'), xml_domain.find(text, 'vda').disk.source)

    def test_a_change_in_between_is_noticed(self) -> None:
        other = replace(self.live, source=FileSource('/elsewhere'))
        with self.assertRaises(exception.InvalidDisk):
            xml_domain.with_disk_source(STORED, 'vda', other, live_xml=LIVE)

    def test_a_driver_is_made_where_there_is_none(self) -> None:
        stored = document.parse(STORED)
        driver = stored.find('devices/disk/driver')
        assert driver is not None
        stored.find('devices/disk').remove(driver)  # type: ignore[union-attr]
        text = xml_domain.with_disk_source(
            document.to_text(stored), 'vda', self.live, live_xml=LIVE
        )
        self.assertEqual('raw', xml_domain.find(text, 'vda').format)


class RunIdTest(unittest.TestCase):
    def test_only_a_running_guest_has_one(self) -> None:
        self.assertEqual('7', xml_domain.run_id("<domain id='7'><name>a</name></domain>"))
        self.assertIsNone(xml_domain.run_id('<domain><name>a</name></domain>'))
        self.assertRaises(exception.InvalidDisk, xml_domain.run_id, '<disk/>')
