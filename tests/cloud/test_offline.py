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
"""Volumes that no server uses, retyped and migrated by Cinder with our copy."""

from __future__ import annotations

import hashlib
import os

from tests.cloud import site as places
from tests.cloud.api import Record
from tests.cloud.base import CloudTestCase

#: Every kind of backend once as the source and once as the destination; rbd to rbd is not ours,
#: since Cinder's driver has a way of its own.
_ROUND = ('iscsi1', 'rbd1', 'nfs1', 'iscsi1')
#: What may be on a backend of the 1 GiB.
_ALLOCATED = 256 << 20


class OfflineTest(CloudTestCase):
    def checksum(self, volume: Record) -> str:
        """Of what the backend has, and that it takes no more room than the data."""
        path = self.api.read_back(volume)
        if volume.backend not in places.RBD:
            self.assertLess(path.stat().st_blocks * 512, _ALLOCATED, volume.backend)
        with path.open('rb') as stream:
            return hashlib.file_digest(stream, 'sha256').hexdigest()

    def copies(self, volume: Record) -> int:
        """How many copies of the volume our manager has logged."""
        text = self.api.site.log('cinder-volume').read_text(errors='replace')
        return text.count(f'Volume {volume.id} was copied to')

    def test_retype_around_the_backends(self) -> None:
        """The same bytes everywhere, by our copy each time, and an ordinary volume at the end."""
        volume = self.volume(_ROUND[0], image='tiny')
        # Nobody has it open: what is written into the file is what the volume holds.
        with self.api.read_back(volume).open('r+b') as stream:
            for at in range(0, 1 << 30, 64 << 20):
                stream.seek(at)
                stream.write(os.urandom(1 << 20))
        before = self.checksum(volume)
        for count, volume_type in enumerate(_ROUND[1:], 1):
            self.api.retype(volume, volume_type)
            volume = self.api.wait_moved(volume.id)
            self.assertEqual(
                ('available', 'success', volume_type),
                (volume.status, volume.migration_status, volume.backend),
            )
            self.assertEqual(before, self.checksum(volume), volume_type)
            self.assertEqual(count, self.copies(volume))
        self.assertEqual([], self.api.cinder_attachments(volume.id))
        server = self.server()
        dev = self.api.attach(server, volume)
        self.writing(server, dev)
        self.api.detach(server, volume)

    def test_destination_does_not_answer(self) -> None:
        """The migration fails, and the volume is where it was."""
        volume = self.volume('rbd1', image='tiny')
        before = self.checksum(volume)
        ganesha = self.api.lab.nfs
        ganesha.stop()
        self.addCleanup(ganesha.cont)
        self.api.retype(volume, 'nfs1')
        failed = self.api.wait_moved(volume.id)
        ganesha.cont()
        self.assertEqual(
            ('available', 'error', 'rbd1', 'rbd1'),
            (failed.status, failed.migration_status, failed.backend, failed.volume_type),
        )
        self.assertEqual(before, self.checksum(failed))
        self.assertEqual(0, self.copies(volume))
