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
"""What the tests on the real cloud have in common: servers that write, and a judge."""

from __future__ import annotations

import itertools
import os
from typing import Any

import testtools
from lxml import etree

from tests.cloud.api import Api, Record
from tests.cloud.server import Server
from tests.lab import oracle
from tests.lab.deadline import wait_until
from tests.lab.guest.agent import Stat
from tests.lab.lab import Lab
from tests.lab.pattern import Fill

_names = itertools.count(1)
#: A type whose extra spec lets a copy take some ten seconds, in bytes/s of what is filled.
SLOW_TYPE, SLOW = 'rbd2-slow', 8 << 20
FILLED_FROM, FILLED = 512 << 20, 64 << 20


class CloudTestCase(testtools.TestCase):
    """A test inside the lab of a cloud that is up; what it makes goes with it."""

    def setUp(self) -> None:
        super().setUp()
        self.api = Api(Lab.from_env())

    def server(self, volume: Record | None = None) -> Server:
        """A booted server."""
        server = self.api.boot(f'test-{os.getpid()}-{next(_names)}', volume)
        self.addCleanup(self.api.delete_server, server)
        return server

    def volume(self, volume_type: str, *, image: str | None = None) -> Record:
        """A volume of 1 GiB."""
        volume = self.api.create(volume_type, image=image)
        self.addCleanup(self.api.delete_volume, volume.id)
        return volume

    def attached(self, server: Server, volume_type: str) -> tuple[Record, str]:
        """A new volume that is attached to a server, and the target of its disk."""
        volume = self.volume(volume_type)
        dev = self.api.attach(server, volume)
        self.addCleanup(self._detach, server, volume)
        return volume, dev

    def _detach(self, server: Server, volume: Record) -> None:
        if volume.id in self.api.attachments(server):
            self.api.detach(server, volume)

    def writing(self, server: Server, dev: str) -> None:
        """Let the guest write to a disk from now on."""
        server.start_writers(dev, blocks=256, stride=1 << 20, delay_us=5000)
        server.wait_acked(20)

    def slow_copy(
        self, volume_type: str = SLOW_TYPE, rate: int = SLOW, *, server: Server | None = None
    ) -> tuple[Server, Record, str, str]:
        """A copy from rbd1 to a type that is copied to slowly, under way, the guest writing.

        :param volume_type: made with that rate, in bytes/s, unless it is there
        :param server: a new one if none is given
        :return: the server, the volume, the target of its disk, and the swap's id
        """
        specs = {'volume_backend_name': 'rbd2', 'blockmirror:bandwidth': str(rate)}
        self.api.volume_type(volume_type, specs)
        server = server or self.server()
        volume, dev = self.attached(server, 'rbd1')
        server.fill(Fill(seed=3, offset=FILLED_FROM, length=FILLED), dev)
        server.start_writers(dev, blocks=256, stride=1 << 20, delay_us=100000)
        server.wait_acked(5)
        self.api.retype(volume, volume_type)
        swap_id = wait_until(lambda: self._copying(server), 60, 'the copy begins')
        return server, volume, dev, swap_id

    def _copying(self, server: Server) -> str | None:
        for one in self.our_swaps(server):
            if one['state'] == 'copying':
                return str(one['swap_id'])
        return None

    # -- judging -----------------------------------------------------------------------

    def assert_survived(self, server: Server, volume: Record, dev: str) -> Stat:
        """Stop the writers; all that they had acknowledged is on the volume's backend."""
        stat = server.stop_writers(dev)
        self.assertEqual(0, stat.errors, 'the guest saw I/O errors')
        report = oracle.check(self.api.read_back(volume), server.acked(dev), None)
        self.assertTrue(report.ok, report)
        return stat

    def assert_agreed(self, server: Server, volume: Record, dev: str) -> None:
        """Live and stored XML, serial, Nova's mapping and Cinder's attachment are of one mind."""
        address = self.api.address(volume)
        self.assertNotEqual('', address)
        for inactive in (False, True):
            disk = server.disk(dev, inactive=inactive)
            assert disk is not None, f'no {dev}'
            self.assertEqual(volume.id, disk.findtext('serial'))
            source = disk.find('source')
            assert source is not None
            self.assertIn(address, etree.tostring(source).decode())
            self.assertIsNone(disk.find('mirror'))
        # Cinder says success a moment before it has pointed the attachment at the volume.
        attachments = wait_until(
            lambda: self.api.cinder_attachments(volume.id), 30, "the attachment is the volume's"
        )
        self.assertEqual(['attached'], [one['status'] for one in attachments])
        self.assertEqual(server.id, attachments[0]['instance'])
        self.assertIn(address, str(attachments[0]['connection_info']))
        nova = self.api.attachments(server)[volume.id]
        self.assertEqual(attachments[0]['id'], nova['attachment_id'])
        mapping = self.api.mapping(server, volume.id)
        self.assertEqual(volume.id, mapping.get('serial'))
        self.assertIn(address, str(mapping['data']))

    def our_swaps(self, server: Server) -> list[dict[str, Any]]:
        """Our journal's swaps of a server: none when another driver did them."""
        return [one for one in self.api.swaps(server.journal) if server.name in one.values()]

    def assert_moved(self, server: Server, volume: Record, dev: str, backend: str) -> Record:
        """The volume is where it should go, by our driver, and nothing was lost."""
        moved = self.api.wait_moved(volume.id)
        self.assertEqual(
            ('in-use', 'success', backend), (moved.status, moved.migration_status, moved.backend)
        )
        self.assertIn('cleaned', [one['state'] for one in self.our_swaps(server)][-1:])
        server.wait_acked(20)
        self.assert_survived(server, moved, dev)
        self.assert_agreed(server, moved, dev)
        return moved
