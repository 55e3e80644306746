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
"""nova-compute, or what it talks to, goes away around a swap; the records must find the truth.

The core of it; the campaign has every state, and moments that are drawn.
"""

from __future__ import annotations

from tests.cloud.base import SLOW_TYPE
from tests.cloud.interrupted import RECOVERY_S, InterruptedTestCase
from tests.lab.deadline import wait_until


class InterruptedTest(InterruptedTestCase):
    """Every swap ends on one volume that guest, Nova and Cinder agree upon."""

    def test_killed_while_copying(self) -> None:
        server, volume, dev, swap_id = self.slow_copy()
        self.compute.kill()
        self.assertEqual('copying', self.state(server))
        self.restart()
        self.api.wait_moved(volume.id, RECOVERY_S)
        moved = self.assert_moved(server, volume, dev, 'rbd2')
        self.assertEqual(SLOW_TYPE, moved.volume_type)
        self.assertEqual([swap_id], [one['swap_id'] for one in self.our_swaps(server)])

    def test_killed_at_the_pivot_and_again_while_recovering(self) -> None:
        """The second process dies when Cinder has completed the move and the answer is lost."""
        self.doom('after:pivoting')
        server, volume, dev = self.moving()
        self.await_death('after:pivoting')
        self.doom_recovery('after:completion')
        self.restart()
        self.assert_settled(server, volume, dev)
        self.assertEqual('rbd2', self.api.record(volume.id).backend)

    def test_cinder_is_away_after_the_pivot(self) -> None:
        """What Nova's manager has to tell Cinder is told later, and nothing is undone."""
        server, volume, dev, _swap_id = self.slow_copy()
        cinder = self.services['cinder-api']
        cinder.kill()
        self.addCleanup(cinder.start)
        wait_until(lambda: self.state(server) == 'cleaned', RECOVERY_S, 'the guest switches')
        server.wait_acked(20)
        cinder.start()
        self.api.wait_moved(volume.id, RECOVERY_S)
        self.assert_moved(server, volume, dev, 'rbd2')
