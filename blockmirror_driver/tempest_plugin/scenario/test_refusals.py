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
"""Moves that come to nothing leave server, volumes and records as they were."""

from __future__ import annotations

from typing import Any

from tempest import config
from tempest.common import utils, waiters
from tempest.lib import decorators
from tempest.lib.common.utils import test_utils

from blockmirror_driver.tempest_plugin.scenario import base

CONF = config.CONF


class RefusalsTest(base.MoveTest):
    """What is cancelled, and what nobody but Cinder may ask for."""

    @decorators.attr(type='slow')
    @decorators.idempotent_id('5d8b7c1e-2f0a-4a7b-9a55-0e3f2d6f9c11')
    @utils.services('compute', 'volume')
    def test_cancelled_copy(self) -> None:
        """The volume keeps type and backend; a second try of the same move succeeds."""
        self.require_command('host_command')
        source, destination = self.backends()[:2]
        types, slow = self.types(), self.slow_type(destination)
        server = self.writing_server()
        volume = self.written_volume(server, types[source])['id']
        report = self.fresh_report(server['id'], volume)
        swap_id = self.start_slow_copy(server, volume, slow)
        self.blockmirror('cancel', swap_id)
        self.assert_reverted(server, volume, (types[source], source), report)
        self.start_retype(volume, types[destination])
        self.assert_moved(server, volume, destination, report)

    @decorators.attr(type=['slow', 'negative'])
    @decorators.idempotent_id('5d8b7c1e-2f0a-4a7b-9a55-0e3f2d6f9c12')
    @utils.services('compute', 'volume')
    def test_swap_that_cinder_did_not_ask_for(self) -> None:
        """Nova itself lets it pass for a volume that was moved before."""
        source, destination = self.backends()[:2]
        types = self.types()
        server = self.writing_server()
        volume = self.written_volume(server, types[source])['id']
        report = self.fresh_report(server['id'], volume)
        self.start_retype(volume, types[destination])
        report = self.assert_moved(server, volume, destination, report)
        other = self.create_volume(volume_type=types[source])['id']
        self.admin_servers.update_attached_volume(server['id'], volume, volumeId=other)
        self.assertIn('Error', self._swap_result(server))
        waiters.wait_for_volume_resource_status(self.volumes_client, other, 'available')
        waiters.wait_for_volume_resource_status(self.volumes_client, volume, 'in-use')
        self.assert_intact(server, volume, report)

    def _swap_result(self, server: dict[str, Any]) -> str:
        """Result of the newest swap that Nova's records of actions show."""
        found: list[str] = []

        def ended() -> bool:
            listed = self.admin_servers.list_instance_actions(server['id'])['instanceActions']
            swaps = [one for one in listed if one['action'] == 'swap_volume']
            if not swaps:
                return False
            told = self.admin_servers.show_instance_action(server['id'], swaps[0]['request_id'])
            found[:] = [str(one['result']) for one in told['instanceAction']['events']]
            return bool(found) and 'None' not in found

        if not test_utils.call_until_true(ended, CONF.compute.build_timeout, 1):
            self.fail(f'the swap does not end: {found}')
        return found[-1]
