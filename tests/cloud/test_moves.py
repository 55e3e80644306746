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
"""Volumes of running servers, moved by Cinder through our compute driver."""

from __future__ import annotations

from tests.cloud import site as places
from tests.cloud.base import CloudTestCase
from tests.lab.deadline import wait_until

#: Every backend once as the source and once as the destination.
_ROUND = {
    'rbd1': 'rbd2',
    'rbd2': 'nfs1',
    'nfs1': 'iscsi1',
    'iscsi1': 'nfs2',
    'nfs2': 'rbd1',
}


class MovesTest(CloudTestCase):
    """Each move with a guest that writes all the time, and a look at the backend."""

    def test_retype_around_the_backends(self) -> None:
        server = self.server()
        volume, dev = self.attached(server, 'rbd1')
        for _ in places.BACKENDS:
            volume_type = _ROUND[volume.volume_type]
            self.writing(server, dev)
            self.api.retype(volume, volume_type)
            volume = self.assert_moved(server, volume, dev, volume_type)
            self.assertEqual(volume_type, volume.volume_type)
        self.assertEqual('rbd1', volume.backend)

    def test_migrate_and_attach_elsewhere(self) -> None:
        """A volume whose type allows any backend; afterwards it is an ordinary volume."""
        server, other = self.server(), self.server()
        volume, dev = self.attached(server, 'rbdany')
        backend = 'rbd2' if volume.backend == 'rbd1' else 'rbd1'
        self.writing(server, dev)
        self.api.migrate(volume, backend)
        volume = self.assert_moved(server, volume, dev, backend)
        checksum = server.crc(dev, 0, 256 << 20)
        self.api.detach(server, volume)
        self.assertIsNone(server.disk(dev))
        dev = self.api.attach(other, volume)
        self.addCleanup(self._detach, other, volume)
        self.assertEqual(checksum, other.crc(dev, 0, 256 << 20))

    def test_boot_volume_and_every_kind_of_reboot(self) -> None:
        """After the swap the stored XML, Nova's mapping and a new start give the new volume."""
        server = self.server(self.volume('rbd1', image='tiny'))
        volume = self.api.record(next(iter(self.api.attachments(server))))
        self.writing(server, 'vda')
        self.api.retype(volume, 'rbd2')
        volume = self.assert_moved(server, volume, 'vda', 'rbd2')
        checksum = server.crc('vda', 0, 256 << 20)
        for kind in ('SOFT', 'HARD'):
            self.api.reboot(server, kind)
            self.assertEqual(checksum, server.crc('vda', 0, 256 << 20))
            self.assert_agreed(server, volume, 'vda')
        self.api.stop(server)
        self.api.start(server)
        self.assertEqual(checksum, server.crc('vda', 0, 256 << 20))
        self.assert_agreed(server, volume, 'vda')

    def test_extended_between_two_moves(self) -> None:
        """A network disk grows while the guest writes, and is as large wherever it moves."""
        server = self.server()
        volume, dev = self.attached(server, 'rbd1')
        self.writing(server, dev)
        self.api.retype(volume, 'rbd2')
        volume = self.assert_moved(server, volume, dev, 'rbd2')
        self.writing(server, dev)
        volume = self.api.extend(volume, 2)
        wait_until(lambda: server.size(dev) == 2 << 30, 60, 'the guest sees the new size')
        self.api.retype(volume, 'rbd1')
        volume = self.assert_moved(server, volume, dev, 'rbd1')
        self.assertEqual((2, 2 << 30), (volume.size, server.size(dev)))

    def test_steered_from_the_host(self) -> None:
        """``hold``, ``speed``, ``pivot`` and ``watch`` reach the swap that nova-compute runs."""
        server, volume, dev, swap_id = self.slow_copy()
        self.api.blockmirror('hold', swap_id)
        self.api.blockmirror('speed', swap_id, '0')

        def state() -> str:
            return ''.join(one['state'] for one in self.our_swaps(server))

        wait_until(lambda: state() == 'held', 120, 'the swap is held')
        server.wait_acked(20)
        self.assertEqual('held', state())
        self.api.blockmirror('pivot', swap_id)
        # It ends with the swap, and fails unless that did well.
        self.api.blockmirror('watch', swap_id)
        self.assert_moved(server, volume, dev, 'rbd2')

    def test_two_volumes_of_a_server_at_a_time(self) -> None:
        server = self.server()
        first, second = self.attached(server, 'rbd1'), self.attached(server, 'nfs1')
        for _volume, dev in (first, second):
            self.writing(server, dev)
        self.api.retype(first[0], 'rbd2')
        self.api.retype(second[0], 'rbd1')
        self.assert_moved(server, *first, 'rbd2')
        self.assert_moved(server, *second, 'rbd1')
        self.assertEqual(2, len(self.our_swaps(server)))
