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
"""A disk is written so that libvirt's schema takes it, and is read back as the same."""

from __future__ import annotations

import dataclasses
import functools
import operator
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st

from blockmirror_driver import exception, model
from blockmirror_driver.model import Disk, FileSource, Host, IoTune
from blockmirror_driver.xml import disk as xml_disk
from tests.unit.xml import disks
from tests.unit.xml.schema import SchemaTestCase

TEXT = st.text() | st.characters().map(str)
NUMBERS = st.none() | st.integers(-1, 1 << 70)


def _hosts() -> st.SearchStrategy[Host]:
    names = TEXT | st.ip_addresses().map(str) | st.sampled_from(['a.b', '1.2.3.4'])
    return st.builds(Host, names, st.none() | st.integers(-1, 70000))


def _auths() -> st.SearchStrategy[model.Auth]:
    refs = st.builds(
        model.SecretRef,
        st.sampled_from(model.SecretUsage),
        uuid=st.none() | TEXT | st.uuids().map(str),
        usage=st.none() | TEXT,
    )
    return st.builds(model.Auth, TEXT | st.just('cinder'), refs)


def _sources() -> st.SearchStrategy[model.Source]:
    optional = st.none() | TEXT
    auths = st.none() | _auths()
    paths = TEXT | TEXT.map('/'.__add__)
    identities = st.builds(model.Identity, NUMBERS, NUMBERS)
    hosts = st.lists(_hosts(), max_size=3).map(tuple)
    return st.one_of(
        st.builds(model.RbdSource, TEXT, TEXT, hosts, auths, st.none() | paths, optional),
        st.builds(model.IscsiSource, TEXT, st.integers(-1, 1 << 33), _hosts(), auths, optional),
        st.builds(model.NfsSource, _hosts(), paths, TEXT, st.none() | identities),
        st.builds(model.FileSource, paths),
        st.builds(model.BlockSource, paths),
        st.builds(model.OtherSource, TEXT, TEXT),
    )


class TestRoundTrip(SchemaTestCase):
    def assert_round_trip(self, disk: Disk) -> None:
        text = xml_disk.build(disk)
        self.assert_valid(text)
        self.assertEqual(disk, xml_disk.parse(text))
        self.assertEqual(text, disk.to_xml())

    def test_every_kind_of_source(self) -> None:
        for name, source in disks.SOURCES.items():
            with self.subTest(name):
                self.assert_round_trip(Disk(source))

    def test_every_field(self) -> None:
        self.assert_round_trip(disks.FULL)

    def test_every_field_is_exercised(self) -> None:
        """A field that is added must be added to FULL, and to the XML."""
        plain = Disk(FileSource('/a'))
        for field in dataclasses.fields(Disk):
            if field.compare:
                with self.subTest(field.name):
                    value = getattr(disks.FULL, field.name)
                    self.assertNotEqual(getattr(plain, field.name), value)
                    changed = {field.name: value}
                    self.assertNotEqual(plain.to_xml(), replace(plain, **changed).to_xml())

    def test_every_limit_is_written(self) -> None:
        for field in dataclasses.fields(IoTune):
            with self.subTest(field.name):
                limits = {field.name: 1 << 40}
                disk = Disk(FileSource('/a'), iotune=IoTune(**limits))
                self.assert_round_trip(disk)
                self.assertIn(f'<{field.name}>{1 << 40}<', disk.to_xml())

    def test_every_value_of_the_driver(self) -> None:
        for name in ('cache', 'io', 'discard', 'detect_zeroes'):
            for value in xml_disk._literal_values(model.Driver, name):
                with self.subTest(name, value=value):
                    driver = model.Driver(**cast(dict[str, Any], {name: value}))
                    self.assert_round_trip(Disk(FileSource('/a'), driver=driver))

    def test_no_backing_file_is_looked_for(self) -> None:
        """The chain ends in the XML, so that nobody reads it from the image (P8)."""
        self.assertIn('<backingStore/>', disks.FULL.to_xml())
        self.assertIn('type="raw"', Disk(FileSource('/a')).to_xml())

    def test_secrets_are_references(self) -> None:
        spec = model.SecretSpec(model.SecretUsage.CEPH, 'array.1', model.Secret('c4n4ry'))
        self.assertNotIn('c4n4ry', replace(disks.FULL, secrets=(spec,)).to_xml())

    @settings(deadline=None)
    @given(
        _sources(),
        st.fixed_dictionaries(
            {},
            optional={
                'serial': TEXT,
                'target_dev': TEXT | st.sampled_from(['vdaa', 'xvdb', 'ioemu:hda']),
                'bus': st.none() | TEXT,
                'logical_block_size': NUMBERS,
                'driver': st.builds(model.Driver, TEXT, TEXT),
                'iotune': st.builds(IoTune, NUMBERS, NUMBERS, NUMBERS),
                'device': TEXT,
            },
        ),
    )
    def test_whatever_text_there_is(self, source: model.Source, fields: dict[str, Any]) -> None:
        """It round-trips and is valid, or is refused with our error."""
        disk = Disk(source, **fields)
        try:
            xml_disk.build(disk)
        except exception.InvalidDisk:
            return
        self.assert_round_trip(disk)


class TestRefused(SchemaTestCase):
    def refused(self, disk: Disk) -> None:
        with self.assertRaises(exception.InvalidDisk):
            xml_disk.build(disk)

    def test_values_outside_the_schema(self) -> None:
        file = FileSource('/a')
        iscsi = cast(model.IscsiSource, disks.SOURCES['iscsi'])
        nfs = cast(model.NfsSource, disks.SOURCES['nfs'])
        rbd = cast(model.RbdSource, disks.SOURCES['rbd'])
        cases: dict[str, Callable[[], Disk]] = {
            'relative path': lambda: Disk(FileSource('a')),
            'NUL': lambda: Disk(FileSource('/a\0')),
            'surrogate': lambda: Disk(FileSource('/\ud800')),
            'control': lambda: Disk(FileSource('/\x1b')),
            'device': lambda: replace(disks.FULL, device=cast(Any, 'tape')),
            'target': lambda: Disk(file, 'a'),
            'bus': lambda: Disk(file, bus='isa'),
            'serial': lambda: Disk(file, serial='a/b'),
            'serial with a blank at its end': lambda: Disk(file, serial='a '),
            'empty serial': lambda: Disk(file, serial=''),
            'format': lambda: Disk(file, driver=model.Driver('zip')),
            'cache': lambda: Disk(file, driver=model.Driver(cache=cast(Any, 'all'))),
            'negative size': lambda: Disk(file, logical_block_size=model.Bytes(-1)),
            'huge limit': lambda: Disk(file, iotune=IoTune(total_iops_sec=1 << 64)),
            'total beside read': lambda: Disk(
                file, iotune=IoTune(total_bytes_sec=1, read_bytes_sec=1)
            ),
            'a text for a number': lambda: Disk(
                file, iotune=IoTune(total_iops_sec=cast(Any, '1'))
            ),
            'a number for a text': lambda: Disk(FileSource(cast(Any, 5))),
            'other': lambda: Disk(model.OtherSource('nvme', '<source/>')),
            'slash in target': lambda: Disk(replace(iscsi, target='a/1')),
            'negative lun': lambda: Disk(replace(iscsi, lun=-1)),
            'portal': lambda: Disk(replace(iscsi, portal=Host('a_b'))),
            'port': lambda: Disk(replace(iscsi, portal=Host('a', 65536))),
            'zone': lambda: Disk(replace(iscsi, portal=Host('fe80::1%eth0'))),
            'export': lambda: Disk(replace(nfs, export='srv')),
            'export with a slash at its end': lambda: Disk(replace(nfs, export='/srv/')),
            'file': lambda: Disk(replace(nfs, file='a/b')),
            'nfs port': lambda: Disk(replace(nfs, host=Host('a', 2049))),
            'uid': lambda: Disk(replace(nfs, identity=model.Identity(1 << 32))),
            'pool': lambda: Disk(replace(rbd, pool='')),
            'image': lambda: Disk(replace(rbd, image='a/b')),
            'config': lambda: Disk(replace(rbd, config_file='ceph.conf')),
            'user': lambda: Disk(replace(rbd, auth=replace(disks.CEPH, username='a b'))),
        }
        for name, make in cases.items():
            with self.subTest(name):
                self.refused(make())

    def test_a_secret_is_cited_in_one_way(self) -> None:
        usage = model.SecretUsage.CEPH
        for uuid, name in ((None, None), (disks.UUID, 'a'), ('no', None), (None, 'a/b')):
            ref = model.SecretRef(usage, uuid, name)
            with self.subTest(uuid=uuid, name=name):
                self.refused(Disk(model.RbdSource('p', 'i', auth=model.Auth('u', ref))))


class TestParse(SchemaTestCase):
    def test_what_libvirt_adds_is_left_out(self) -> None:
        text = """
          <disk type='block' device='disk' snapshot='no'>
            <driver name='qemu' type='raw' cache='default' error_policy='stop' io='future'/>
            <source dev='/dev/x' index='4'><seclabel model='dac' relabel='no'/></source>
            <target dev='vdc' bus='virtio'/>
            <iotune><total_iops_sec>5</total_iops_sec><group_name>g</group_name></iotune>
            <alias name='virtio-disk2'/>
            <address type='pci' domain='0x0000' bus='0x04' slot='0x00' function='0x0'/>
          </disk>"""
        self.assertEqual(
            Disk(model.BlockSource('/dev/x'), 'vdc', iotune=IoTune(total_iops_sec=5)),
            xml_disk.parse(text),
        )

    def test_an_empty_drive(self) -> None:
        text = "<disk type='file' device='cdrom'><target dev='sda' bus='sata'/><readonly/></disk>"
        disk = xml_disk.parse(text)
        self.assertEqual(model.OtherSource('empty', ''), disk.source)
        self.assertEqual(('cdrom', True), (disk.device, disk.readonly))

    def test_what_is_no_disk(self) -> None:
        for text in (
            '',
            'disk',
            '<disk>',
            '<disk/>',
            '<disk><target/></disk>',
            "<domain><target dev='a'/></domain>",
            "<disk><target dev='vda'/><blockio logical_block_size='x'/></disk>",
            "<disk><target dev='vda'/><blockio logical_block_size='-1'/></disk>",
            "<disk><target dev='vda'/><iotune><total_iops_sec/></iotune></disk>",
            "<disk><target dev='vda'/><iotune><size_iops_sec>1e9</size_iops_sec></iotune></disk>",
            '<?xml version="1.0" encoding="UTF-16"?><disk/>',
            '\ud800',
            b'\xff\xfe\x00',
        ):
            with self.subTest(text), self.assertRaises(exception.InvalidDisk):
                xml_disk.parse(text)

    @settings(deadline=None)
    @given(st.text() | st.binary())
    def test_noise(self, text: str | bytes) -> None:
        with self.assertRaises(exception.InvalidDisk):
            xml_disk.parse(text)

    @settings(deadline=None)
    @given(st.data())
    def test_a_damaged_disk(self, data: st.DataObject) -> None:
        """A text that was cut, or in which a part was replaced, gives a disk or our error."""
        text = functools.reduce(operator.add, xml_disk.build(disks.FULL).splitlines())
        start = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(start, len(text)))
        try:
            xml_disk.parse(text[:start] + data.draw(TEXT) + text[end:])
        except exception.InvalidDisk:
            return
