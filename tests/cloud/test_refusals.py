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
"""What our compute driver refuses or breaks off leaves guest, volumes and records as they were."""

from __future__ import annotations

from tests.cloud.base import CloudTestCase
from tests.lab.deadline import wait_until


class RefusalsTest(CloudTestCase):
    """The guest stays on its volume, and no volume is left in a passing state."""

    def test_a_swap_that_cinder_does_not_wait_for(self) -> None:
        """Nova lets a swap through for any volume that was moved before."""
        server = self.server()
        volume, dev = self.attached(server, 'rbd1')
        self.api.retype(volume, 'rbd2')
        volume = self.api.wait_moved(volume.id)
        other = self.volume('rbd1')
        self.writing(server, dev)
        swaps = len(self.our_swaps(server))
        self.api.swap(server, volume, other)
        fault = wait_until(lambda: self.api.swap_failure(server), 60, 'the swap ends')
        self.assertIn('Error', fault)
        self.api.wait(volume.id, 'in-use')
        self.api.wait(other.id, 'available')
        self.assertEqual(swaps, len(self.our_swaps(server)))
        server.wait_acked(20)
        self.assert_survived(server, volume, dev)
        self.assert_agreed(server, volume, dev)

    def test_a_cancelled_copy(self) -> None:
        """``blockmirror cancel`` reaches the swap of nova-compute; Cinder cleans up."""
        server, volume, dev, swap_id = self.slow_copy()
        self.api.blockmirror('cancel', swap_id)
        ended = self.api.wait_moved(volume.id)
        self.assertEqual(
            ('in-use', 'error', 'rbd1', 'rbd1'),
            (ended.status, ended.migration_status, ended.volume_type, ended.backend),
        )
        self.assertEqual(['reverted'], [one['state'] for one in self.our_swaps(server)])
        server.wait_acked(20)
        self.assert_survived(server, ended, dev)
        self.assert_agreed(server, ended, dev)
