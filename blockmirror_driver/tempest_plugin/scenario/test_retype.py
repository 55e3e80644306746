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
"""Volumes that a server writes to get another type or another backend."""

from __future__ import annotations

from tempest.common import utils
from tempest.lib import decorators

from blockmirror_driver.tempest_plugin.scenario import base


class RetypeTest(base.MoveTest):
    """Each move under load, and what can be done with the volume afterwards."""

    @decorators.attr(type='slow')
    @decorators.idempotent_id('5d8b7c1e-2f0a-4a7b-9a55-0e3f2d6f9c01')
    @utils.services('compute', 'volume')
    def test_data_volume_around_all_backends(self) -> None:
        """At the end it is detached, and another server finds every block."""
        types = self.types()
        first, *others = self.backends()
        server = self.writing_server()
        volume = self.written_volume(server, types[first])['id']
        report = self.fresh_report(server['id'], volume)
        for backend in (*others, first):
            self.start_retype(volume, types[backend])
            report = self.assert_moved(server, volume, backend, report)
        other = self.writing_server()
        self.nova_volume_detach(server, {'id': volume})
        self.nova_volume_attach(other, {'id': volume})
        self.assert_kept(other, volume, report)

    @decorators.attr(type='slow')
    @decorators.idempotent_id('5d8b7c1e-2f0a-4a7b-9a55-0e3f2d6f9c02')
    @utils.services('compute', 'volume', 'image')
    def test_boot_volume_and_all_ways_to_start_again(self) -> None:
        """Soft reboot, hard reboot, stop and start: each finds the new volume."""
        types = self.types()
        source, destination = self.backends()[:2]
        volume = self.boot_volume(types[source])
        server = self.writing_server(volume)
        report = self.fresh_report(server['id'], volume['id'])
        self.start_retype(volume['id'], types[destination])
        report = self.assert_moved(server, volume['id'], destination, report)
        for kind in ('SOFT', 'HARD'):
            self.reboot(server, kind)
            self.assert_kept(server, volume['id'], report)
            report = self.fresh_report(server['id'], volume['id'])
        self.stop_and_start(server)
        self.assert_kept(server, volume['id'], report)

    @decorators.attr(type='slow')
    @decorators.idempotent_id('5d8b7c1e-2f0a-4a7b-9a55-0e3f2d6f9c03')
    @utils.services('compute', 'volume')
    def test_two_volumes_of_a_server_at_a_time(self) -> None:
        """Cinder asks for both at once; none of them waits for ever."""
        types = self.types()
        source, destination = self.backends()[:2]
        server = self.writing_server()
        volumes = [self.written_volume(server, types[source])['id'] for _ in range(2)]
        reports = [self.fresh_report(server['id'], volume) for volume in volumes]
        for volume in volumes:
            self.start_retype(volume, types[destination])
        for volume, report in zip(volumes, reports, strict=True):
            self.assert_moved(server, volume, destination, report)

    @decorators.attr(type='slow')
    @decorators.idempotent_id('5d8b7c1e-2f0a-4a7b-9a55-0e3f2d6f9c04')
    @utils.services('compute', 'volume')
    def test_migrate_there_and_back(self) -> None:
        """A volume whose type names no backend is migrated, which keeps its type."""
        types = self.types()
        source, destination = self.backends()[:2]
        anywhere = self.create_volume_type()['name']
        server = self.writing_server()
        volume = self.written_volume(server, types[source])['id']
        report = self.fresh_report(server['id'], volume)
        # Between types of one backend nothing is copied.
        self.admin_volumes.retype_volume(volume, new_type=anywhere, migration_policy='never')
        for backend in (destination, source):
            self.start_migration(volume, backend)
            report = self.assert_moved(server, volume, backend, report)
        shown = self.admin_volumes.show_volume(volume)['volume']
        self.assertEqual(anywhere, shown['volume_type'])
