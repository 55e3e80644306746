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
"""P8: a qcow2 is what it is declared to be, and refers to no file that nobody declared."""

from __future__ import annotations

import uuid
from pathlib import Path

from tests.functional.base import SIZE, LabTestCase
from tests.functional.command import Result
from tests.lab.guest.guest import Guest
from tests.lab.process import run
from tests.lab.volumes import NfsVolume


class Qcow2TestCase(LabTestCase):
    def image(self, *options: str) -> Path:
        """A qcow2 file on the NFS export, world-writable as Cinder makes it."""
        path = self.lab.nfs.path / f'volume-{uuid.uuid4()}'
        run(['qemu-img', 'create', '-q', '-f', 'qcow2', *options, str(path), str(SIZE)])
        path.chmod(0o666)
        self.addCleanup(path.unlink, missing_ok=True)
        return path

    def swap_to(self, guest: Guest, path: Path) -> Result:
        """Swap to a file of the export as to a qcow2 volume."""
        return self.swap(guest, NfsVolume(self.lab), name=path.name, format='qcow2')

    def assert_refused(self, path: Path, word: str) -> None:
        source = self.volume('file', filled=True)
        guest = self.writing_guest(source)
        before = path.read_bytes()
        self.assert_error(self.swap_to(guest, path), 3, word)
        self.assertEqual(before, path.read_bytes())
        guest.wait_acked(20)
        self.assert_on(guest, source)
        self.assert_nothing_left(guest)
        self.assert_survived(guest, source)


class Qcow2Test(Qcow2TestCase):
    def test_raw_to_qcow2_on_nfs(self) -> None:
        source = self.volume('rbd', filled=True)
        guest = self.writing_guest(source)
        path = self.image()
        self.assert_ok(self.swap_to(guest, path))
        live = self.source_of(guest)
        self.assertEqual(['qcow2'], [one.get('type') for one in live.findall('driver')])
        self.assertTrue(str(live.find('source').get('name')).endswith(path.name))  # type: ignore[union-attr]
        guest.wait_acked(20)
        self.assert_survived_in_qcow2(guest, path)

    def test_an_undeclared_backing_file(self) -> None:
        self.assert_refused(self.image('-b', str(self.image()), '-F', 'qcow2'), 'backing file')

    def test_an_external_data_file(self) -> None:
        data = self.lab.nfs.path / f'data-{uuid.uuid4()}'
        self.addCleanup(data.unlink, missing_ok=True)
        self.assert_refused(self.image('-o', f'data_file={data},data_file_raw=on'), 'data file')

    def test_a_raw_file_that_is_declared_qcow2(self) -> None:
        path = self.image()
        path.write_bytes(bytes(SIZE))
        self.assert_refused(path, 'not the qcow2')
