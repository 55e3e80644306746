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
"""A guest whose records disagree is neither started nor moved."""

from __future__ import annotations

from typing import Any
from unittest import mock

from nova import exception as nova_exception
from nova import objects
from nova.virt.libvirt import config as vconfig
from nova.virt.libvirt import driver as libvirt_driver

from tests.nova.base import ISCSI, OLD_ID, RBD, NovaGuest, NovaTestCase, info_of

REASON = 'the mapping names another volume'
GATES = {
    'reboot': nova_exception.InstanceRebootFailure,
    '_hard_reboot': nova_exception.InstanceRebootFailure,
    'resume': nova_exception.InstanceResumeFailure,
    'rescue': nova_exception.InstanceRescueFailure,
    'migrate_disk_and_power_off': nova_exception.InstanceFaultRollback,
    'check_can_live_migrate_source': nova_exception.MigrationPreCheckError,
}


class TestGates(NovaTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.reasons = {self.instance.uuid: REASON}
        blocked = mock.patch.object(
            self.driver, 'blocked', lambda uuid: self.reasons.get(uuid, '')
        )
        blocked.start()
        self.addCleanup(blocked.stop)

    def test_each_refuses_with_the_reason(self) -> None:
        for name, error in GATES.items():
            with mock.patch.object(libvirt_driver.LibvirtDriver, name) as novas:
                raised = self.assertRaises(
                    error, getattr(self.driver, name), mock.sentinel.context, self.instance
                )
            self.assertIn(REASON, str(getattr(raised, 'inner_exception', None) or raised))
            novas.assert_not_called()

    def test_each_goes_through_with_what_nova_gave(self) -> None:
        self.reasons.clear()
        context = mock.sentinel.context
        for name in GATES:
            with mock.patch.object(libvirt_driver.LibvirtDriver, name) as novas:
                getattr(self.driver, name)(context, self.instance, 'network_info', accel_info=1)
            novas.assert_called_once_with(context, self.instance, 'network_info', accel_info=1)

    def test_powering_on_asks_too(self) -> None:
        self.assertRaises(
            nova_exception.InstanceRebootFailure,
            self.driver.power_on,
            mock.sentinel.context,
            self.instance,
            None,
        )


class TestLiveMigration(NovaTestCase):
    """Nova can't turn a network disk into a device on the way."""

    def setUp(self) -> None:
        super().setUp()
        novas = mock.patch.object(libvirt_driver.LibvirtDriver, 'live_migration')
        self.novas = novas.start()
        self.addCleanup(novas.stop)
        self.recover = mock.Mock()

    def migrate(self, here: str, info: dict[str, Any]) -> None:
        disk = vconfig.LibvirtConfigGuestDisk()
        disk.serial, disk.source_type = OLD_ID, here
        self.nova_guest = NovaGuest(disk)
        bdm = objects.LibvirtLiveMigrateBDMInfo(
            serial=OLD_ID, connection_info=info, bus='virtio', dev='vdb', type='disk'
        )
        data = objects.LibvirtLiveMigrateData(bdms=[bdm])
        self.driver.live_migration(
            mock.sentinel.context, self.instance, 'host2', mock.Mock(), self.recover, False, data
        )

    def test_alike_on_both_hosts(self) -> None:
        native = info_of(ISCSI)
        native['blockmirror'] = {'how': 'native', 'owner': 'o'}
        for here, info in (
            ('network', info_of(RBD)),
            ('network', native),
            ('block', info_of(ISCSI)),
        ):
            self.novas.reset_mock()
            self.migrate(here, info)
            self.novas.assert_called_once()
        self.recover.assert_not_called()

    def test_to_a_host_without_us(self) -> None:
        self.migrate('network', info_of(ISCSI))
        self.novas.assert_not_called()
        self.recover.assert_called_once()

    def test_to_a_host_that_has_opted_in(self) -> None:
        native = info_of(ISCSI)
        native['blockmirror'] = {'how': 'native', 'owner': 'o'}
        self.migrate('block', native)
        self.novas.assert_not_called()
        self.recover.assert_called_once()
