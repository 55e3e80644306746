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
"""Network disks of QEMU and files that the host has mounted, mixed and changed."""

from __future__ import annotations

import pathlib
from collections.abc import Callable

from tests.cloud import storage
from tests.cloud.interrupted import InterruptedTestCase
from tests.cloud.server import Server


class WaysTest(InterruptedTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.addCleanup(self.cloud, 'driver', 'ours')

    def kind(self, server: Server, dev: str) -> str | None:
        """How the guest has a disk: ``network``, ``file`` or ``block``."""
        disk = server.disk(dev)
        assert disk is not None
        return disk.get('type')

    def mounts(self) -> list[str]:
        """Shares that nova-compute has mounted."""
        base = str(self.api.site.state / 'nova' / 'mnt') + '/'
        lines = pathlib.Path('/proc/self/mounts').read_text().splitlines()
        return [line for line in lines if line.split()[1].startswith(base)]

    def devices(self) -> list[str]:
        """Loop devices of the loop backends' files."""
        return storage.devices(self.api.site)

    def _around(self, stations: dict[str, str], held: Callable[[], list[str]]) -> None:
        """Move a volume from rbd1 to each station, and start its server anew at the last.

        :param stations: backends, and how the guest has the disk there
        :param held: what the host holds for disks that are not of the network
        """
        server = self.server()
        volume, dev = self.attached(server, 'rbd1')
        before = held()
        for destination, kind in stations.items():
            self.writing(server, dev)
            self.api.retype(volume, destination)
            volume = self.assert_moved(server, volume, dev, destination)
            self.assertEqual(kind, self.kind(server, dev))
            self.assertEqual(int(kind != 'network'), len(held()) - len(before), destination)
        checksum = server.crc(dev, 0, 256 << 20)
        self.api.reboot(server, 'HARD')
        self.assertEqual(checksum, server.crc(dev, 0, 256 << 20))
        self.assert_agreed(server, volume, dev)

    def test_swaps_between_network_disks_and_mounted_files(self) -> None:
        """Native to host, host to host, host to native; each way lets go of what it had."""
        self.cloud('driver', 'ours', '--native', 'rbd')
        self._around({'nfs1': 'file', 'nfs2': 'file', 'rbd2': 'network'}, self.mounts)

    def test_swaps_between_network_disks_and_devices_of_the_host(self) -> None:
        """The same with block devices, which Nova's own driver gives; none is left behind."""
        self._around({'loop1': 'block', 'loop2': 'block', 'rbd2': 'network'}, self.devices)

    def test_native_protocols_change_and_the_stock_driver_comes_back(self) -> None:
        """As the guide for installing says; nothing of any way is left behind."""
        before = self.mounts()
        server = self.server()
        volume, dev = self.attached(server, 'rbd1')
        self.writing(server, dev)
        self.api.retype(volume, 'nfs1')
        volume = self.assert_moved(server, volume, dev, 'nfs1')
        self.assertEqual('network', self.kind(server, dev))
        self.assertEqual(before, self.mounts())
        self.cloud('driver', 'ours', '--native', 'rbd')
        self.writing(server, dev)
        self.api.retype(volume, 'nfs2')
        volume = self.assert_moved(server, volume, dev, 'nfs2')
        self.assertEqual('file', self.kind(server, dev))
        self.cloud('driver', 'ours')
        self.writing(server, dev)
        self.api.retype(volume, 'nfs1')
        volume = self.assert_moved(server, volume, dev, 'nfs1')
        self.assertEqual('network', self.kind(server, dev))
        checksum = server.crc(dev, 0, 256 << 20)
        self.cloud('driver', 'ours', '--native', 'rbd')
        self.api.reboot(server, 'HARD')
        self.assertEqual('file', self.kind(server, dev))
        self.cloud('driver', 'stock')
        self.api.reboot(server, 'HARD')
        self.assertEqual(checksum, server.crc(dev, 0, 256 << 20))
        self.api.detach(server, volume)
        self.assertIsNone(server.disk(dev))
        self.assertEqual(before, self.mounts())
