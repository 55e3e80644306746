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
"""NFS files: exports, formats, identity, and the header of what is mounted here."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import Any

from blockmirror_driver import exception
from blockmirror_driver.model import Host, Identity, NfsSource
from tests.unit.volume import cases, qcow2
from tests.unit.volume.cases import ABSENT


class NfsTestCase(cases.VolumeTestCase):
    kind = 'nfs'

    def source(self, **changes: Any) -> NfsSource:
        source = self.disk(**changes).source
        assert isinstance(source, NfsSource)
        return source


class TestExports(NfsTestCase):
    def test_all_notations(self) -> None:
        for text, host, path in (
            ('nas.example.org:/srv/cinder', 'nas.example.org', '/srv/cinder'),
            ('192.0.2.1:/srv', '192.0.2.1', '/srv'),
            ('[2001:db8::1]:/srv', '2001:db8::1', '/srv'),
            ('2001:db8::1:/srv', '2001:db8::1', '/srv'),
            ('::1:/srv', '::1', '/srv'),
            ('nas:/', 'nas', '/'),
            ('nas:/srv/', 'nas', '/srv'),
            ('nas:/srv//x', 'nas', '/srv//x'),
            ('nas:/a share/with  blanks', 'nas', '/a share/with  blanks'),
            ('nas:/a:/b', 'nas', '/a:/b'),
            ('nas:/ü?version=3&uid=0#%2f"\'<>&', 'nas', '/ü?version=3&uid=0#%2f"\'<>&'),
        ):
            with self.subTest(text):
                source = self.source(export=text)
                self.assertEqual((Host(host), path), (source.host, source.export))

    def test_what_is_no_export(self) -> None:
        for text in (
            ABSENT, None, '', 5, ['nas:/srv'], 'nas', 'nas:', 'nas:srv', '/srv', ':/srv',
            'a b:/srv', 'a_b:/srv', 'nas:2049:/srv', '[nas]:/srv', '[fe80::1%eth0]:/srv',
            'nas:/srv/../etc', 'nas:/./srv', 'nas:/srv\n', 'nas:/srv\0', 'nas:/\ud800',
        ):  # fmt: skip
            with self.subTest(text):
                self.assertIn('data.export', str(self.refused(export=text)))

    def test_the_active_file(self) -> None:
        for name in ('volume-1', 'volume-1.snap', 'a b', '-x', '...', 'ü'):
            self.assertEqual(name, self.source(name=name).file)

    def test_what_is_no_file(self) -> None:
        for name in (ABSENT, None, '', '.', '..', 'a/b', '/a', '../a', 5, 'a\0', 'a\n', '\ud800'):
            with self.subTest(name):
                self.assertIn('data.name', str(self.refused(name=name)))


class TestIdentity(NfsTestCase):
    def test_from_the_options(self) -> None:
        for values, expected in (
            ({}, None),
            ({'nfs_uid': 0, 'nfs_gid': 0}, Identity(0, 0)),
            ({'nfs_uid': 107}, Identity(107, None)),
            ({'nfs_gid': 64055}, Identity(None, 64055)),
        ):
            with self.subTest(values):
                source = self.source(conf=cases.options(**values))
                self.assertEqual(expected, source.identity)


class TestFormat(NfsTestCase):
    def test_formats(self) -> None:
        for given, expected in (
            ('raw', 'raw'), ('qcow2', 'qcow2'), (None, 'raw'), (ABSENT, 'raw'), ('', 'raw'),
        ):  # fmt: skip
            self.assertEqual(expected, self.disk(format=given).driver.format)

    def test_others(self) -> None:
        for given in ('vmdk', 'QCOW2', 'auto', 'luks', 'qcow'):
            self.refused(exception.UnsupportedVolume, format=given)
        self.refused(format=['raw'])

    def test_the_base_of_mounts_is_of_no_consequence(self) -> None:
        for base in ('/mnt/test', '/opt/stack/data//mnt', None):
            plain = self.disk()
            self.assertEqual(plain, self.disk({'mount_point_base': base}))
            self.assertEqual(plain, self.disk(mount_point_base=base, format='raw'))

    def test_the_header_of_what_is_mounted_here(self) -> None:
        with tempfile.TemporaryDirectory() as base:
            digest = hashlib.md5(cases.NFS['export'].encode()).hexdigest()
            file = Path(base) / digest / cases.NFS['name']
            file.parent.mkdir()
            where: dict[str, Any] = {'mount_point_base': base, 'format': 'qcow2'}
            self.disk(**where)
            file.write_bytes(qcow2.header())
            self.disk(**where)
            file.write_bytes(qcow2.header(backing=True))
            self.refused(exception.UnsupportedVolume, **where)
            self.disk(mount_point_base=base, format='raw')
