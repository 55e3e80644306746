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
"""libvirt's own parser reads what we write, and we read what it writes.

With its test driver, which parses and prints like all of its drivers, in this process.
"""

from __future__ import annotations

import importlib
import unittest
from dataclasses import replace
from typing import Any

from blockmirror_driver.model import Disk, Host, IscsiSource, NbdSource
from blockmirror_driver.xml import disk as xml_disk
from blockmirror_driver.xml import domain as xml_domain
from blockmirror_driver.xml import metadata, probe
from tests.unit.xml import disks

DOMAIN = """
<domain type='test'>
  <name>guest</name>
  <uuid>1d6a5f10-2c3b-4d5e-8f90-a1b2c3d4e5f6</uuid>
  <memory>65536</memory>
  <os><type>hvm</type></os>
  <devices>{}</devices>
</domain>"""


class TestWithLibvirt(unittest.TestCase):
    def setUp(self) -> None:
        try:
            self.libvirt: Any = importlib.import_module('libvirt')
        except ImportError:
            self.skipTest('libvirt-python is not installed')
        self.connection = self.libvirt.open('test:///default')
        self.addCleanup(self.connection.close)

    def define(self, text: str) -> Any:
        """Define the guest, or replace its definition; it goes with the connection."""
        return self.connection.defineXML(text)

    def disks(self) -> dict[str, Disk]:
        kinds = {name: Disk(source) for name, source in disks.SOURCES.items()}
        # Only SCSI passthrough of a block device may be a lun.
        return {**kinds, 'full': replace(disks.FULL, device='disk')}

    def test_every_disk(self) -> None:
        for name, disk in self.disks().items():
            with self.subTest(name):
                domain = self.define(DOMAIN.format(disk.to_xml()))
                found = xml_domain.find(domain.XMLDesc(), disk.target_dev)
                self.assertTrue(xml_disk.same_volume(disk.source, found.disk.source))
                self.assertEqual(_with_port(disk), found.disk)
                self.assertEqual(disk.encryption is not None, found.encrypted)
                self.assertEqual(disk.backing is not None, found.has_backing)

    def test_a_mark_comes_back(self) -> None:
        domain = self.define(DOMAIN.format(disks.FULL.to_xml().replace('"lun"', '"disk"')))
        mark = metadata.SwapMark('1', 'vda', disks.FULL.to_xml(), '<disk/>', 'a "copy" & more')
        kind = self.libvirt.VIR_DOMAIN_METADATA_ELEMENT
        for _ in range(2):
            domain.setMetadata(kind, metadata.build([mark]), metadata.KEY, metadata.NAMESPACE)
            self.assertEqual((mark,), metadata.parse(domain.metadata(kind, metadata.NAMESPACE)))

    def test_a_repaired_definition(self) -> None:
        old, new = Disk(disks.SOURCES['file']), Disk(disks.SOURCES['rbd'])
        live = self.define(DOMAIN.format(new.to_xml())).XMLDesc()
        stored = self.define(DOMAIN.format(old.to_xml())).XMLDesc()
        text = xml_domain.with_disk_source(stored, 'vda', new, live_xml=live)
        again = self.define(text).XMLDesc()
        self.assertEqual(new, xml_domain.find(again, 'vda').disk)

    def test_the_probes_domain(self) -> None:
        for name, disk in self.disks().items():
            with self.subTest(name):
                like = DOMAIN.format(disk.to_xml())
                uuid = disks.UUID
                self.connection.defineXML(
                    probe.build(disk, name='probe', uuid=uuid, like_domain_xml=like)
                ).undefine()


def _with_port(disk: Disk) -> Disk:
    """libvirt fills in the ports of iscsi and nbd."""
    source = disk.source
    if isinstance(source, IscsiSource) and source.portal.port is None:
        return disk.with_source(replace(source, portal=Host(source.portal.name, 3260)))
    if isinstance(source, NbdSource) and source.host is not None and source.host.port is None:
        return disk.with_source(replace(source, host=Host(source.host.name, 10809)))
    return disk
