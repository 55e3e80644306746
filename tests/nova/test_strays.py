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
"""Moves that Cinder waits for although nobody has begun them."""

from __future__ import annotations

from typing import Any
from unittest import mock

from nova import objects

from blockmirror_driver.nova import strays
from blockmirror_driver.volume import registry
from tests.nova.base import NEW_ID, OLD_ID, RBD, info_of
from tests.nova.test_duties import AT_ONCE, BACKWARD, DutiesCase


class TestStrays(DutiesCase):
    def setUp(self) -> None:
        super().setUp()
        mapping = mock.Mock(is_volume=True, volume_id=OLD_ID)
        self.attachment = mock.Mock(id='attachment-new', volume_id=NEW_ID, status='reserved')
        for owner, name, found in (
            (objects.InstanceList, 'get_by_host', [self.instance]),
            (objects.BlockDeviceMappingList, 'get_by_instance_uuid', [mapping]),
        ):
            patched = mock.patch.object(owner, name, return_value=found)
            patched.start()
            self.addCleanup(patched.stop)
        now = mock.patch('blockmirror_driver.nova.strays.threading', AT_ONCE)
        now.start()
        self.addCleanup(now.stop)
        client = mock.patch('blockmirror_driver.nova.strays.cinder.cinderclient')
        client.start().return_value.attachments.list.return_value = [self.attachment]
        self.addCleanup(client.stop)

    def told(self) -> list[tuple[Any, ...]]:
        strays.take_back(self.driver)
        return self.cinder.told

    def test_never_connected(self) -> None:
        self.assertEqual(BACKWARD, self.told())

    def test_connected_and_not_begun(self) -> None:
        self.attachment.status = 'attaching'
        self.assertEqual(BACKWARD, self.told())

    def test_the_guest_is_on_it(self) -> None:
        """As Nova's own driver may have left it."""
        self.attachment.status = 'attaching'
        self.guest.live_source = registry.disk_for(info_of(RBD, NEW_ID)).source
        self.assertEqual([], self.told())

    def test_a_device_without_a_name(self) -> None:
        self.attachment.status = 'attaching'
        self.cinder.connections['attachment-new']['driver_volume_type'] = 'fibre_channel'
        self.assertEqual([], self.told())

    def test_a_swap_that_is_in_the_journal(self) -> None:
        self.guest.pivots = ['die']
        self.refused()
        self.assertEqual([], self.told())

    def test_a_volume_that_is_not_moved(self) -> None:
        self.cinder.volumes[OLD_ID]['migration_status'] = 'success'
        self.assertEqual([], self.told())
