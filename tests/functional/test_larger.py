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
"""Destinations that are larger than the disk: the guest sees as much of them as before."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.functional.base import FILLED, MIB, SIZE, LabTestCase
from tests.functional.command import Result
from tests.lab import oracle
from tests.lab.guest.guest import Guest
from tests.lab.volumes import Volume

SPARE = 5 * MIB + 4096


class LargerTest(LabTestCase):
    def slices(self, guest: Guest, *, inactive: bool = False) -> list[str | None]:
        """How much of its volume the disk uses."""
        disk = self.source_of(guest, inactive=inactive)
        return [one.get('size') for one in disk.iterfind('source/slices/slice')]

    def used(self, volume: Volume) -> Path:
        """A copy of the part that is used; what is behind it was never written to."""
        part = self.lab.layout.scratch / f'{volume.id}.part'
        self.addCleanup(part.unlink)
        shutil.copy(volume.read_back(), part)
        with part.open('r+b') as copied:
            copied.seek(SIZE)
            self.assertEqual(bytes(SPARE), copied.read())
            copied.truncate(SIZE)
        return part

    def grow(self, guest: Guest) -> Result:
        """Run ``blockmirror grow``."""
        return self.command.run('grow', guest.name, 'vda')

    def test_grown(self) -> None:
        """The rest of the volume, on each backend, while the guest writes and after a start."""
        guest = self.writing_guest(self.volume('file', filled=True))
        self.assert_error(self.grow(guest), 3, 'not a part')
        size = SIZE
        for kind in ('nfs', 'iscsi', 'rbd', 'file'):
            size += 8 * MIB
            volume = self.volume(kind, size)
            self.assert_ok(self.swap(guest, volume, '--allow-larger'))
            self.assertEqual(size - 8 * MIB, guest.size('vda'))
            self.assert_ok(self.grow(guest))
            self.assertEqual(size, guest.size('vda'))
            self.assertEqual([], self.slices(guest, inactive=True))
            # Newer libvirt takes the slice off its live XML as well, and says so.
            self.assert_error(self.grow(guest), 3, 'its volume')
            guest.wait_acked(20)
        self.assert_survived_in_part(guest, volume)
        guest.poweroff()
        guest.boot()
        self.assertEqual(size, guest.size('vda'))
        self.assertEqual([], self.slices(guest))
        self.assert_nothing_left(guest)

    @pytest.mark.campaign
    def test_around(self) -> None:
        """Refused, then taken, on each backend, cold started, and on to one of the right size."""
        first, last = self.volume('file', filled=True), self.volume('nfs')
        guest = self.writing_guest(first)
        for kind in ('nfs', 'iscsi', 'rbd'):
            volume = self.volume(kind, SIZE + SPARE)
            told = f'{SPARE} bytes too large'
            self.assert_error(self.swap(guest, volume), 3, 'size', told, '--allow-larger')
            self.assert_ok(self.swap(guest, volume, '--allow-larger'))
            self.assert_on(guest, volume)
            self.assertEqual(SIZE, guest.size('vda'))
            for inactive in (False, True):
                self.assertEqual([str(SIZE)], self.slices(guest, inactive=inactive))
            guest.wait_acked(20)
        self.assertEqual(0, guest.stop_writers().errors)
        report = oracle.check(self.used(volume), guest.acked(), FILLED, exact=True)
        self.assertTrue(report.ok, report)
        checksum = guest.crc('vda', 0, SIZE)
        guest.poweroff()
        guest.boot()
        self.assertEqual((SIZE, checksum), (guest.size('vda'), guest.crc('vda', 0, SIZE)))
        guest.start_writers(blocks=256, delay_us=2000)
        guest.wait_acked(20)
        self.assert_ok(self.swap(guest, last))
        self.assert_on(guest, last)
        self.assertEqual([], self.slices(guest))
        guest.wait_acked(20)
        self.assert_survived(guest, last)
        self.assert_nothing_left(guest)
