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
"""Live migration between two hosts: network disks and devices, before and after a swap."""

from __future__ import annotations

import datetime as dt
import pathlib

from tests.cloud import config, storage
from tests.cloud import site as places
from tests.cloud.api import Record
from tests.cloud.encrypted import EncryptedTestCase, passphrases
from tests.cloud.second import SecondHost
from tests.cloud.server import Host, Server
from tests.lab.deadline import wait_until

#: Seconds for a nova-compute to start, report itself, and be seen by the scheduler.
_UP_S = 180.0
#: How libvirt calls the secrets of ours that a connected volume's disk cites.
_OURS = 'blockmirror/'
_OURS_ON_BOTH = config.Choice()


class LiveMigrationTest(EncryptedTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.second = SecondHost(self.api.site)
        self.addCleanup(self.second.down)
        self.second.up()

    def compute(self, choice: config.Choice) -> None:
        """Start nova-compute on the second host, and keep it from all but what is sent to it."""
        begun = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=1)
        self.second.start_compute(choice)
        since = begun.strftime('%Y-%m-%dT%H:%M:%S')

        def reports() -> bool:
            services = [
                one
                for one in self.api.cloud.compute.services()
                if one.host == places.NODE2
                and one.state == 'up'
                and (one.updated_at or '') >= since
            ]
            names = [one.name for one in self.api.cloud.compute.hypervisors()]
            return bool(services) and places.NODE2 in names

        wait_until(reports, _UP_S, 'the second nova-compute reports itself')

    def migrate(self, server: Server, host: str) -> None:
        """Move a server, and judge that it came."""
        self.assertEqual('completed', self.api.live_migrate(server, host))
        self.assertEqual(host, self.api.host_of(server))
        site = self.api.site
        hosts: dict[str, tuple[Host, pathlib.Path]] = {
            places.NODE: (self.api.lab, site.journal),
            places.NODE2: (self.second, site.journal2),
        }
        server.came_to(*hosts[host])

    def stays(self, server: Server) -> None:
        """Ask for the move to the second host, which must not come to be."""
        self.assertNotEqual('completed', self.api.live_migrate(server, places.NODE2))
        self.assertEqual(places.NODE, self.api.host_of(server))
        self.assertEqual([], [one.name() for one in self.second.connect().listAllDomains()])
        server.reconnect()

    def secrets(self, host: Host) -> list[str]:
        """Secrets of ours on a host."""
        usages = [secret.usageID() for secret in host.connect().listAllSecrets()]
        return [usage for usage in usages if usage.startswith(_OURS)]

    def movable(self) -> Server:
        """A server without a disk on this host: libvirt knows that its files are not shared."""
        return self.server(self.volume('rbd1', image='tiny'))

    def volumes(self, server: Server, *types: str) -> list[tuple[Record, str]]:
        """Attached volumes that the guest writes to."""
        found = [self.attached(server, one) for one in types]
        for _volume, dev in found:
            self.writing(server, dev)
        return found

    def test_there_moved_and_back(self) -> None:
        """The guest writes to every kind of disk, and each host forgets what has left it."""
        self.compute(_OURS_ON_BOTH)
        server = self.movable()
        volumes = self.volumes(server, 'rbd1', 'iscsi1', 'nfs1', 'loop1')
        before = self.secrets(self.api.lab)
        self.assertEqual(1, len(before))
        self.migrate(server, places.NODE2)
        self.assertEqual(before, self.secrets(self.second))
        self.assertEqual([], self.secrets(self.api.lab))
        for volume, dev in volumes:
            server.wait_acked(20)
            self.assert_survived(server, volume, dev)
            self.assert_agreed(server, volume, dev)
        (first, dev), (second, dev2) = volumes[0], volumes[1]
        for target in (dev, dev2):
            self.writing(server, target)
        self.api.retype(first, 'nfs2')
        first = self.assert_moved(server, first, dev, 'nfs2')
        self.api.retype(second, 'rbd2')
        second = self.assert_moved(server, second, dev2, 'rbd2')
        self.assertEqual([], self.secrets(self.second))
        volumes = [(first, dev), (second, dev2), *volumes[2:]]
        for _volume, target in volumes:
            self.writing(server, target)
        self.migrate(server, places.NODE)
        for volume, target in volumes:
            server.wait_acked(20)
            self.assert_survived(server, volume, target)
            self.assert_agreed(server, volume, target)
            self.api.detach(server, volume)
        self.assertEqual([], self.second.shares())
        self.assertEqual([], storage.devices(self.api.site))

    def test_encrypted_by_a_swap(self) -> None:
        """Nova finds the passphrase by the volume's id, and each host forgets what has left it."""
        self.compute(_OURS_ON_BOTH)
        server = self.movable()
        volume, dev = self.attached(server, 'rbd1')
        volume = self.retyped(server, volume, dev, 'rbd2-luks-256')
        self.writing(server, dev)
        self.migrate(server, places.NODE2)
        server.wait_acked(20)
        self.assertEqual(self.before, passphrases(self.api.lab))
        self.assertEqual([volume.id], [*passphrases(self.second).values()])
        self.migrate(server, places.NODE)
        server.wait_acked(20)
        self.assertEqual({}, passphrases(self.second))
        self.assert_survived(server, volume, dev)
        self.assert_agreed(server, volume, dev)
        self.assert_kept(server, volume, dev)

    def test_not_during_a_swap(self) -> None:
        """A guest with a copy under way stays until the copy has ended."""
        self.compute(_OURS_ON_BOTH)
        server, volume, dev, _swap_id = self.slow_copy(server=self.movable())
        self.stays(server)
        self.assert_moved(server, volume, dev, 'rbd2')
        self.migrate(server, places.NODE2)

    def test_to_a_host_with_novas_own_driver(self) -> None:
        """What is a network disk on both goes there and comes back; else the guest stays."""
        self.compute(config.Choice(driver=places.STOCK_DRIVER))
        server = self.movable()
        (volume, dev), (share, dev2) = self.volumes(server, 'rbd1', 'nfs1')
        self.stays(server)
        self.assertEqual([], self.second.shares())
        server.wait_acked(20)
        self.assert_survived(server, share, dev2)
        self.assert_agreed(server, share, dev2)
        self.api.detach(server, share)
        for host in (places.NODE2, places.NODE):
            self.migrate(server, host)
            server.wait_acked(20)
        self.assert_survived(server, volume, dev)
        self.assert_agreed(server, volume, dev)
        self.writing(server, dev)
        self.api.retype(volume, 'rbd2')
        self.assert_moved(server, volume, dev, 'rbd2')
