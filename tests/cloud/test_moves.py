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
"""Volumes of running servers, moved by Cinder through our compute driver."""

from __future__ import annotations

from tests.cloud.base import CloudTestCase


class MovesTest(CloudTestCase):
    """Each move with a guest that writes all the time, and a look at the backend."""

    def test_retype_around_the_backends(self) -> None:
        server = self.server()
        volume, dev = self.attached(server, 'rbd1')
        for volume_type in ('rbd2', 'nfs1', 'nfs2', 'rbd1'):
            self.writing(server, dev)
            self.api.retype(volume, volume_type)
            volume = self.assert_moved(server, volume, dev, volume_type)
            self.assertEqual(volume_type, volume.volume_type)
