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
"""What breaks in the middle of a move: nova-compute, or the storage that the volume goes to."""

from __future__ import annotations

from tempest import config
from tempest.common import utils
from tempest.lib import decorators

from blockmirror_driver.tempest_plugin.scenario import base

CONF = config.CONF
#: Blocks that a guest writes while something is broken.
_MEANWHILE = 20


class InterruptedTest(base.MoveTest):
    """Each move ends on one volume, which has every block that was acknowledged."""

    @decorators.attr(type='slow')
    @decorators.idempotent_id('5d8b7c1e-2f0a-4a7b-9a55-0e3f2d6f9c21')
    @utils.services('compute', 'volume')
    def test_compute_killed_in_mid_copy(self) -> None:
        """The next nova-compute takes the copy up where it is."""
        self.require_command('host_command')
        self.require_command('compute_command')
        source, destination = self.backends()[:2]
        types, slow = self.types(), self.slow_type(destination)
        server = self.writing_server()
        volume = self.written_volume(server, types[source])['id']
        report = self.fresh_report(server['id'], volume)
        swap_id = self.start_slow_copy(server, volume, slow)
        self.addCleanup(self.compute, 'start')
        self.compute('kill')
        # The guest's console is read through nova-compute, so only after this.
        self.compute('start')
        self.fresh_report(server['id'], volume, _MEANWHILE)
        self.assert_moved(server, volume, destination, report)
        self.assertEqual([swap_id], [one['swap_id'] for one in self.swaps(server)])

    @decorators.attr(type='slow')
    @decorators.idempotent_id('5d8b7c1e-2f0a-4a7b-9a55-0e3f2d6f9c22')
    @utils.services('compute', 'volume')
    def test_compute_killed_after_the_pivot(self) -> None:
        """Cinder was told nothing; a hard reboot afterwards boots the new volume."""
        self.require_command('host_command')
        self.require_command('compute_command')
        source, destination = self.backends()[:2]
        types = self.types()
        server = self.writing_server()
        volume = self.written_volume(server, types[source])['id']
        report = self.fresh_report(server['id'], volume)
        self.addCleanup(self.compute, 'start')
        self.compute('doom')
        self.start_retype(volume, types[destination])
        self.wait_state(server, 'pivoted')
        # The guest's console is read through nova-compute, so only now.
        self.compute('start')
        self.fresh_report(server['id'], volume, _MEANWHILE)
        report = self.assert_moved(server, volume, destination, report)
        self.reboot(server, 'HARD')
        self.assert_kept(server, volume, report)

    @decorators.attr(type='slow')
    @decorators.idempotent_id('5d8b7c1e-2f0a-4a7b-9a55-0e3f2d6f9c23')
    @utils.services('compute', 'volume')
    def test_destination_dies(self) -> None:
        """The guest never notices; the copy is cancelled while the storage answers nothing."""
        self.require_command('host_command')
        self.require_command('backend_command')
        # The first two may well be pools of one cluster.
        source, destination = self.backends()[0], self.backends()[-1]
        types, slow = self.types(), self.slow_type(destination)
        server = self.writing_server()
        volume = self.written_volume(server, types[source])['id']
        report = self.fresh_report(server['id'], volume)
        swap_id = self.start_slow_copy(server, volume, slow)
        self.addCleanup(self.backend, 'start', destination)
        self.backend('stop', destination)
        self.fresh_report(server['id'], volume, _MEANWHILE)
        self.blockmirror('cancel', swap_id)
        self.fresh_report(server['id'], volume, _MEANWHILE)
        self.backend('start', destination)
        self.assert_reverted(server, volume, (types[source], source), report)
        self.start_retype(volume, types[destination])
        self.assert_moved(server, volume, destination, report)

    @decorators.attr(type='slow')
    @decorators.idempotent_id('5d8b7c1e-2f0a-4a7b-9a55-0e3f2d6f9c24')
    @utils.services('compute', 'volume')
    def test_thin_stays_thin(self) -> None:
        """What was never written takes no room, on any backend that can leave it out."""
        self.require_command('backend_command')
        types = self.types()
        first, *others = CONF.blockmirror.thin_backends or self.backends()
        server = self.writing_server()
        volume = self.written_volume(server, types[first])['id']
        report = self.fresh_report(server['id'], volume)
        for backend in (*others, first):
            self.start_retype(volume, types[backend])
            report = self.assert_moved(server, volume, backend, report)
            shown = self.admin_volumes.show_volume(volume)['volume']
            # The template of names that Cinder has by default.
            name = f'volume-{shown["os-vol-mig-status-attr:name_id"] or volume}'
            allocated = int(self.backend('allocated', backend, name))
            # The guest's blocks lie in the first half.
            most = CONF.volume.volume_size * (1 << 30) * 3 // 4
            self.assertLess(allocated, most, f'{backend}: {allocated}')
