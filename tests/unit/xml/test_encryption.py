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
"""``<encryption>``: what is built is valid and read back, and what is not ours is told."""

import unittest
from dataclasses import replace

from lxml import etree

from blockmirror_driver import exception
from blockmirror_driver.model import (
    Disk,
    Encryption,
    FileSource,
    NfsSource,
    SecretRef,
    SecretUsage,
)
from blockmirror_driver.xml import disk as xml_disk
from blockmirror_driver.xml import encryption
from tests.unit.xml import disks
from tests.unit.xml.schema import SchemaTestCase

_REF = SecretRef(SecretUsage.VOLUME, uuid=disks.UUID)
_SECRET = f"<secret type='passphrase' uuid='{disks.UUID}'/>"


def parse(text: str) -> Encryption | None:
    """Parse what is below a ``<disk>``."""
    return encryption.parse(etree.fromstring(f'<disk>{text}</disk>'))


class TestBuild(SchemaTestCase):
    def test_on_every_kind_of_source(self) -> None:
        for name, source in disks.SOURCES.items():
            for ref in (_REF, SecretRef(SecretUsage.VOLUME, usage='its-passphrase')):
                with self.subTest(name):
                    disk = Disk(source, encryption=Encryption(ref))
                    # Only the schema has it not; libvirt and QEMU take it.
                    if not isinstance(source, NfsSource):
                        self.assert_valid(disk.to_xml())
                    self.assertEqual(disk, xml_disk.parse(disk.to_xml()))

    def test_refused(self) -> None:
        plain = Disk(FileSource('/a'))
        for bad in (
            Encryption(None),
            Encryption(_REF, format='qcow'),
            Encryption(replace(_REF, type=SecretUsage.CEPH)),
            Encryption(replace(_REF, usage='both')),
            Encryption(SecretRef(SecretUsage.VOLUME)),
            Encryption(SecretRef(SecretUsage.VOLUME, uuid='none')),
        ):
            with self.subTest(bad), self.assertRaises(exception.InvalidDisk):
                replace(plain, encryption=bad).to_xml()


class TestParse(unittest.TestCase):
    def test_where_it_stands(self) -> None:
        inner = f"<encryption format='luks' engine='qemu'>{_SECRET}</encryption>"
        self.assertEqual(Encryption(_REF), parse(f'<source>{inner}</source>'))
        self.assertEqual(Encryption(_REF), parse(f'<source/>{inner}'))
        self.assertIsNone(parse('<source/>'))

    def test_what_is_not_ours(self) -> None:
        for text, expected in (
            (f"<encryption format='qcow'>{_SECRET}</encryption>", Encryption(_REF, 'qcow')),
            ("<encryption format='luks'/>", Encryption(None)),
            (f"<encryption format='luks'>{_SECRET * 2}</encryption>", Encryption(None)),
            (
                f"<encryption format='luks' engine='librbd'>{_SECRET}</encryption>",
                Encryption(None, 'luks by librbd'),
            ),
        ):
            self.assertEqual(expected, parse(f'<source>{text}</source>'))
