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
"""What Nova and Cinder are asked for the audit, with Nova's own objects."""

from __future__ import annotations

from typing import Any
from unittest import mock

from nova import exception as nova_exception
from nova import objects

from blockmirror_driver import exception
from blockmirror_driver.nova import audit
from blockmirror_driver.swap.audit import Records
from tests.nova.base import INSTANCE_UUID, NEW_ID, OLD_ID, NovaTestCase


class TestAudit(NovaTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.mappings = [
            objects.BlockDeviceMapping(
                source_type='volume',
                destination_type='volume',
                volume_id=OLD_ID,
                attachment_id='attachment-old',
                device_name='/dev/vda',
            ),
            objects.BlockDeviceMapping(source_type='image', destination_type='local'),
        ]
        self.attachment = mock.Mock(id='attachment-old', volume_id=OLD_ID, status='attached')
        self.cinder.volumes[OLD_ID].update(status='in-use', migration_status='success')
        for owner, name, result in (
            (objects.Instance, 'get_by_uuid', self.instance),
            (objects.BlockDeviceMappingList, 'get_by_instance_uuid', self.mappings),
        ):
            patched = mock.patch.object(owner, name, return_value=result)
            patched.start()
            self.addCleanup(patched.stop)
        client = mock.patch('blockmirror_driver.nova.strays.cinder.cinderclient')
        client.start().return_value.attachments.list.side_effect = lambda **_: [self.attachment]
        self.addCleanup(client.stop)
        self.records_of = audit.NovaRecords(self.cinder)

    def test_records(self) -> None:
        expected = Records(
            OLD_ID, 'attachment-old', '/dev/vda', OLD_ID, 'attached', 'in-use', 'success'
        )
        self.assertEqual((expected,), self.records_of(INSTANCE_UUID))

    def test_an_attachment_that_cinder_lacks(self) -> None:
        self.attachment.id = 'another'
        (found,) = self.records_of(INSTANCE_UUID) or ()
        self.assertEqual(('', ''), (found.attached_volume_id, found.attachment_status))

    def test_a_domain_that_is_not_novas(self) -> None:
        gone = nova_exception.InstanceNotFound(instance_id=INSTANCE_UUID)
        with mock.patch.object(objects.Instance, 'get_by_uuid', side_effect=gone):
            self.assertIsNone(self.records_of(INSTANCE_UUID))

    def test_cinder_is_away(self) -> None:
        self.cinder.fails['get'] = nova_exception.CinderConnectionFailed(reason='no route')
        error = self.assertRaises(exception.HypervisorUnavailable, self.records_of, INSTANCE_UUID)
        self.assertIn(INSTANCE_UUID, str(error))

    def test_a_volume_that_cinder_has_no_more(self) -> None:
        """One that is gone must not keep the others from being audited."""
        del self.cinder.volumes[OLD_ID]
        self.attachment.id = 'another'
        (found,) = self.records_of(INSTANCE_UUID) or ()
        self.assertEqual(
            (OLD_ID, '', ''), (found.volume_id, found.volume_status, found.attached_volume_id)
        )

    def test_at_the_start_nothing_is_raised(self) -> None:
        """Else what was never begun would be taken back again and again."""
        self.guest.uuid = INSTANCE_UUID
        self.cinder.fails['get'] = nova_exception.CinderConnectionFailed(reason='no route')
        (line,) = self.logged()
        self.assertIn('not audited', line)

    def logged(self) -> list[str]:
        with mock.patch.object(audit.LOG, 'warning') as warning:
            audit.tell(self.driver)
        return [call.args[0] % call.args[1:] for call in warning.call_args_list]

    def test_what_disagrees_is_logged_at_the_start(self) -> None:
        """The fake guest's disk has no serial, so that it can't be the mapping's volume."""
        self.guest.uuid = INSTANCE_UUID
        (line,) = self.logged()
        self.assertIn('vda of guest', line)
        self.assertIn(f"Nova's mapping has volume {OLD_ID}", line)

    def test_a_mapping_of_another_volume(self) -> None:
        self.mappings[0].volume_id = NEW_ID
        self.cinder.volumes[NEW_ID].update(status='in-use', migration_status=None)
        lines: Any = '\n'.join(self.logged())
        self.assertIn(f"Cinder's of volume {OLD_ID}", lines)

    def test_the_first_look_of_the_reconciler_ends_with_it(self) -> None:
        with (
            mock.patch('blockmirror_driver.nova.driver.strays.take_back') as take_back,
            mock.patch('blockmirror_driver.nova.driver.audit.tell') as tell,
        ):
            self.driver._first_look()
        take_back.assert_called_once_with(self.driver)
        tell.assert_called_once_with(self.driver)
