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
"""A swap whose old volume can't be let go after the switch, with Nova's own driver."""

from __future__ import annotations

from tests.cloud.old_volume import OldVolumeTestCase
from tests.lab.deadline import wait_until


class OldVolumeTest(OldVolumeTestCase):
    def test_with_novas_driver_cinder_deletes_what_the_guest_runs_on(self) -> None:
        """A fact about Nova, without which the test of ours would show nothing."""
        self.driver('stock')
        server, volume, dev = self.moved()
        self.assertEqual(('error', 'nfs1'), (volume.migration_status, volume.backend))
        self.assertEqual([], self.our_swaps(server))
        disk = server.disk(dev)
        assert disk is not None
        source = disk.find('source')
        assert source is not None
        name = source.get('file', '').rpartition('/')[2]
        self.assertNotEqual(volume.name, name)
        file = self.api.site.share_path('nfs2') / name
        wait_until(lambda: not file.exists(), 60, 'Cinder deletes the volume')
        server.wait_acked(20)  # into a file that nobody will ever find again
