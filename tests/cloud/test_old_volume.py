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
"""A swap whose old volume can't be let go after the switch, with our driver.

With Nova's own it loses the volume that the guest runs on: ``tests/cloud_campaign``.
"""

from __future__ import annotations

from tests.cloud.old_volume import OldVolumeTestCase


class OldVolumeTest(OldVolumeTestCase):
    def test_with_our_driver_nothing_is_lost(self) -> None:
        self.driver('ours', '--native', 'rbd')
        server, volume, dev = self.moved()
        self.assertEqual(('success', 'nfs2'), (volume.migration_status, volume.backend))
        self.assertEqual(['cleaned'], [one['state'] for one in self.our_swaps(server)])
        self.assert_survived(server, volume, dev)
        self.assert_agreed(server, volume, dev)
