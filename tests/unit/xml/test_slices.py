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
"""``<slices>``: the first part of a volume, and no other."""

import unittest

from lxml import etree

from blockmirror_driver import exception
from blockmirror_driver.model import Bytes, Disk, FileSource
from blockmirror_driver.xml import disk as xml_disk
from blockmirror_driver.xml import slices
from tests.unit.xml import disks
from tests.unit.xml.schema import SchemaTestCase


class TestBuild(SchemaTestCase):
    def test_on_every_kind_of_source(self) -> None:
        for name, source in disks.SOURCES.items():
            with self.subTest(name):
                disk = Disk(source, slice_size=Bytes(4096))
                self.assert_valid(disk.to_xml())
                self.assertEqual(disk, xml_disk.parse(disk.to_xml()))

    def test_refused(self) -> None:
        for size in (0, -1, 1 << 64):
            with self.assertRaises(exception.InvalidDisk):
                Disk(FileSource('/a'), slice_size=Bytes(size)).to_xml()


class TestParse(unittest.TestCase):
    def test_the_first_part_only(self) -> None:
        first = "<slice type='storage' offset='0' size='512'/>"
        for text, size in (
            (first, 512),
            (first * 2, None),
            ("<slice type='storage' offset='512' size='512'/>", None),
            ("<slice type='format' offset='0' size='512'/>", None),
            ("<slice type='storage' offset='0' size='x'/>", None),
            ('', None),
        ):
            disk = etree.fromstring(f'<disk><source><slices>{text}</slices></source></disk>')
            self.assertEqual(size, slices.parse(disk))
        self.assertIsNone(slices.parse(etree.fromstring('<disk/>')))
