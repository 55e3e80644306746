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
"""nova-compute is stopped in order in mid-copy, and a host is drained."""

from __future__ import annotations

from tests.cloud.base import SLOW_TYPE
from tests.cloud.interrupted import InterruptedTestCase

#: Seconds that a stop may take; the process is killed after them, and leaves its swap owned.
_STOP_S = 30.0


class StoppedTest(InterruptedTestCase):
    def test_sigterm_in_mid_copy_leaves_the_copy_running(self) -> None:
        """It gives the swap up, and the next process takes the same one to its end."""
        server, volume, dev, swap_id = self.slow_copy()
        self.compute.terminate(_STOP_S)
        left = self.our_swaps(server)
        self.assertEqual([('copying', 'none')], [(one['state'], one['owner']) for one in left])
        disk = server.disk(dev)
        assert disk is not None
        self.assertIsNotNone(disk.find('mirror'))
        server.wait_acked(5)
        self.restart()
        settled = self.assert_settled(server, volume, dev)
        self.assertEqual(('rbd2', SLOW_TYPE), (settled.backend, settled.volume_type))
        self.assertEqual([swap_id], [one['swap_id'] for one in self.our_swaps(server)])

    def test_drain_lets_running_swaps_end_and_refuses_others(self) -> None:
        server, volume, dev, _swap_id = self.slow_copy()
        other, other_dev = self.attached(server, 'rbd1')
        self.writing(server, other_dev)
        self.addCleanup(self.api.blockmirror, 'drain', 'off')
        self.api.blockmirror('drain', 'on')
        self.api.retype(other, 'rbd2')
        refused = self.assert_settled(server, other, other_dev)
        self.assertEqual('error', refused.migration_status)
        self.api.blockmirror('drain', 'on', '--wait', '120')
        self.assertEqual(['cleaned'], [one['state'] for one in self.our_swaps(server)])
        settled = self.assert_settled(server, volume, dev)
        self.assertEqual('success', settled.migration_status)
        self.api.blockmirror('drain', 'off')
        self.writing(server, other_dev)
        self.api.retype(other, 'rbd2')
        self.assertEqual('rbd2', self.assert_settled(server, other, other_dev).backend)
