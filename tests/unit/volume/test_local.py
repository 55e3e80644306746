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
"""Volumes that the host has connected: devices and files."""

from __future__ import annotations

import tempfile
from pathlib import Path

from blockmirror_driver import exception
from blockmirror_driver.model import BlockSource, FileSource
from blockmirror_driver.volume import registry
from tests.unit.volume import cases
from tests.unit.volume.cases import ABSENT

#: What Nova 34 has drivers of its own for.
NOVAS = (
    'iscsi', 'iser', 'local', 'rbd', 'nfs', 'smbfs', 'fibre_channel', 'gpfs', 'quobyte',
    'scaleio', 'vzstorage', 'storpool', 'nvmeof', 'lightos',
)  # fmt: skip
BAD_PATHS = (5, ['/dev/x'], 'dev/x', '/dev/../x', '/dev/./x', '/dev/x/', '/', 'json:{}', '/a\0b')


class LocalTestCase(cases.VolumeTestCase):
    kind = 'local'


class TestDevices(LocalTestCase):
    def test_all_kinds(self) -> None:
        for self.kind in (
            'local', 'fibre_channel', 'iser', 'lightos', 'nvmeof', 'scaleio', 'storpool',
        ):  # fmt: skip
            with self.subTest(self.kind):
                disk = self.disk(device_path='/dev/disk/by-path/ip-1:3260-lun-1')
                self.assertEqual(BlockSource('/dev/disk/by-path/ip-1:3260-lun-1'), disk.source)
                self.assertEqual('raw', disk.driver.format)

    def test_not_connected(self) -> None:
        """As Cinder hands it out: nothing on this host is known of it."""
        for value in (ABSENT, None, ''):
            error = self.refused(exception.UnsupportedVolume, device_path=value)
            self.assertIn('not connected', str(error))
            self.assertIn('os-brick', str(error.hint))

    def test_what_is_no_device(self) -> None:
        for path in (*BAD_PATHS, '/srv/file', '/dev/null'):
            with self.subTest(path):
                self.refused(device_path=path)


class TestFiles(LocalTestCase):
    kind = 'file'

    def test_all_kinds(self) -> None:
        for self.kind in ('file', 'gpfs', 'quobyte', 'smbfs', 'vzstorage'):
            with self.subTest(self.kind):
                disk = self.disk(device_path='/mnt/a share/volume-1')
                self.assertEqual(FileSource('/mnt/a share/volume-1'), disk.source)

    def test_formats(self) -> None:
        """No format is probed: raw unless it is declared."""
        for value, expected in ((ABSENT, 'raw'), ('raw', 'raw'), ('qcow2', 'qcow2')):
            disk = self.disk(device_path='/mnt/v', format=value)
            self.assertEqual(expected, disk.driver.format)
        self.refused(exception.UnsupportedVolume, device_path='/mnt/v', format='vmdk')

    def test_what_is_no_file(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            self.refused(device_path=folder)
            file = Path(folder, 'v')
            file.touch()
            self.assertEqual(FileSource(str(file)), self.disk(device_path=str(file)).source)
        for path in (*BAD_PATHS, '/dev/sda', '/proc/1/mem', '/sys/x'):
            with self.subTest(path):
                self.refused(device_path=path)


class TestNovas(cases.VolumeTestCase):
    def test_there_is_a_driver_for_each(self) -> None:
        self.assertEqual(set(), set(NOVAS) - set(registry.names()))
