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
"""swap_volume: what the manager gets back, and what is left behind."""

from __future__ import annotations

from typing import Any
from unittest import mock

from nova import exception as nova_exception
from nova import objects
from nova.virt.libvirt import config as vconfig

from blockmirror_driver import exception
from blockmirror_driver.model import BlockSource, IoTune, RbdSource
from tests.nova.base import (
    INSTANCE_UUID,
    ISCSI,
    NEW_ID,
    OLD_ID,
    RBD,
    NovaGuest,
    NovaTestCase,
    info_of,
)
from tests.unit.swap.guest import SOURCE

HOST_DEVICE = {
    'driver_volume_type': 'fibre_channel',
    'data': {'volume_id': OLD_ID, 'target_wwn': ['1'], 'access_mode': 'rw', 'encrypted': False},
    'serial': OLD_ID,
}


class SwapCase(NovaTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.guest.uuid = INSTANCE_UUID
        self.world.hypervisor.add(self.guest)
        self.mapping = mock.Mock(attachment_id='attachment-old')
        found = mock.patch.object(
            objects.BlockDeviceMapping, 'get_by_volume_and_instance', return_value=self.mapping
        )
        found.start()
        self.addCleanup(found.stop)
        instance = mock.patch.object(objects.Instance, 'get_by_uuid', lambda *_: self.instance)
        instance.start()
        self.addCleanup(instance.stop)
        self.extra_specs: dict[str, str] = {}
        client = mock.patch('blockmirror_driver.nova.volume_swap.cinder.cinderclient')
        self.cinderclient = client.start()
        self.addCleanup(client.stop)
        fast = mock.Mock(extra_specs=self.extra_specs, id='type-id')
        fast.name = 'fast'
        self.cinderclient.return_value.volume_types.list = lambda **_: [fast]
        self.attachments = [mock.Mock(id='attachment-new')]
        self.cinderclient.return_value.attachments.list = self.list_attachments
        self.old = info_of(HOST_DEVICE)
        self.new = info_of(RBD, NEW_ID)
        self.host_driver = self.novas_own('fibre_channel')
        self.world.hypervisor.fake_secrets.known |= _cited(self)

    def list_attachments(self, search_opts: dict[str, Any]) -> list[Any]:
        wanted = {'volume_id': NEW_ID, 'instance_id': INSTANCE_UUID, 'all_tenants': True}
        self.assertEqual(wanted, search_opts)
        return self.attachments

    def swap(self) -> None:
        self.driver.swap_volume(
            mock.sentinel.context, self.old, self.new, self.instance, '/dev/vda', 0
        )

    def refused(self) -> str:
        error = self.assertRaises(nova_exception.VolumeRebaseFailed, self.swap)
        return str(error)

    def assert_untouched(self) -> None:
        self.assertEqual(SOURCE, self.guest.live_source)
        self.assertEqual([], list(self.world.journal.records()))
        self.assertEqual([], self.host_driver.calls)
        self.assertNotIn('blockmirror', self.new)


def _cited(case: SwapCase) -> set[Any]:
    from blockmirror_driver.volume import registry

    source = registry.disk_for(case.new).source
    assert isinstance(source, RbdSource)
    assert source.auth is not None
    return {source.auth.secret}


class TestSwap(SwapCase):
    def test_a_host_device_to_a_network_disk(self) -> None:
        self.swap()
        source = self.guest.live_source
        assert isinstance(source, RbdSource)
        self.assertEqual(f'volume-{NEW_ID}', source.image)
        self.assertEqual(source, self.guest.stored_source)
        self.assertEqual(['disconnect'], self.host_driver.calls)
        self.assertEqual('native', self.new['blockmirror']['how'])

    def test_a_network_disk_to_a_host_device(self) -> None:
        self.old, self.new = info_of(RBD), info_of(HOST_DEVICE, NEW_ID)
        self.swap()
        self.assertEqual(BlockSource('/dev/disk/by-path/new'), self.guest.live_source)
        self.assertEqual(['connect', 'config'], self.host_driver.calls)

    def test_the_limits_follow_the_volume(self) -> None:
        self.old['data']['qos_specs'] = {'total_iops_sec': '100'}
        self.new['data']['qos_specs'] = {'read_bytes_sec': '1048576'}
        self.guest.limits = IoTune(total_iops_sec=100)
        self.swap()
        self.assertEqual(IoTune(read_bytes_sec=1 << 20), self.guest.limits)

    def test_limits_of_the_old_volume_are_lifted(self) -> None:
        self.old['data']['qos_specs'] = {'total_iops_sec': '100'}
        self.guest.limits = IoTune(total_iops_sec=100)
        self.swap()
        self.assertEqual(IoTune(), self.guest.limits)

    def test_limits_that_came_from_no_volume_stay(self) -> None:
        self.guest.limits = IoTune(total_iops_sec=100)
        self.swap()
        self.assertEqual(0, self.guest.count('set_iotune'))

    def test_an_old_volume_without_a_record_is_let_go_as_it_was_opened(self) -> None:
        """The guest's XML tells it before the swap, and no more after it."""
        self.old, self.new = info_of(ISCSI), info_of(HOST_DEVICE, NEW_ID)
        stock = self.novas_own('iscsi')
        disk = vconfig.LibvirtConfigGuestDisk()
        disk.serial, disk.source_type, disk.source_protocol = OLD_ID, 'network', 'iscsi'
        self.nova_guest = NovaGuest(disk)
        self.driver.adopt(self.old, self.instance)
        self.nova_guest = NovaGuest()
        self.driver.disconnect_volume(mock.sentinel.context, info_of(ISCSI), self.instance)
        self.assertEqual([], stock.calls)

    def test_the_copy_takes_its_options_from_the_destinations_type(self) -> None:
        self.conf.config(bandwidth=7, granularity=65536, group='blockmirror')
        self.extra_specs.update({'blockmirror:bandwidth': '1000000', 'volume_backend_name': 'x'})
        self.swap()
        self.assertEqual(1000000, self.world.record().bandwidth)

    def test_a_type_that_cinder_does_not_tell_of_means_the_options_of_nova_conf(self) -> None:
        self.conf.config(bandwidth=7, group='blockmirror')
        self.cinderclient.return_value.volume_types.list = mock.Mock(
            side_effect=ConnectionError('cinder is away')
        )
        self.swap()
        self.assertEqual(7, self.world.record().bandwidth)

    def test_an_old_volume_that_stays_connected_does_not_raise(self) -> None:
        """After the switch an error would make Cinder delete the guest's volume."""
        self.host_driver.fails['disconnect'] = OSError('rmdir: device busy')
        self.swap()
        self.assertIsInstance(self.guest.live_source, RbdSource)


class TestAfterTheSwitch(SwapCase):
    """Nothing raises: the manager would have Cinder delete the volume that the guest is on."""

    def setUp(self) -> None:
        super().setUp()
        self.really_run = self.driver.engine.run

    def test_an_error_of_our_own(self) -> None:
        def run(*args: Any) -> None:
            self.really_run(*args)
            raise exception.JournalUnusable('disk is full')

        with mock.patch.object(self.driver.engine, 'run', run):
            self.swap()
        self.assertEqual(['disconnect'], self.host_driver.calls)

    def test_an_error_that_nobody_thought_of(self) -> None:
        def run(*args: Any) -> None:
            self.really_run(*args)
            raise ZeroDivisionError

        with mock.patch.object(self.driver.engine, 'run', run):
            self.swap()
        self.assertIsInstance(self.guest.live_source, RbdSource)

    def test_before_it_such_an_error_raises(self) -> None:
        with (
            mock.patch.object(self.driver.engine, 'run', side_effect=ZeroDivisionError),
            mock.patch.object(self.driver, '_disconnect_volume') as disconnect,
        ):
            self.assertRaises(ZeroDivisionError, self.swap)
        self.assertIs(self.new, disconnect.call_args.args[1])


class TestRefused(SwapCase):
    """Before anything is touched."""

    def test_a_volume_that_cinder_does_not_migrate(self) -> None:
        for status in ('success', 'error', None, '', 'completing'):
            self.cinder.volumes[OLD_ID]['migration_status'] = status
            self.assertIn('Cinder is not migrating', self.refused())
            self.assert_untouched()

    def test_a_volume_that_is_migrated_to_another(self) -> None:
        for status in (None, 'target:another', 'migrating'):
            self.cinder.volumes[NEW_ID]['migration_status'] = status
            self.assertIn(f'does not migrate volume {OLD_ID} to {NEW_ID}', self.refused())
            self.assert_untouched()

    def test_an_attachment_of_the_old_kind(self) -> None:
        self.mapping.attachment_id = None
        self.assertIn('before Queens', self.refused())
        self.assert_untouched()

    def test_a_new_volume_without_an_attachment(self) -> None:
        self.attachments.clear()
        self.assertIn('no attachment of the new volume', self.refused())
        self.assert_untouched()

    def test_an_extra_spec_that_can_not_be_read(self) -> None:
        self.extra_specs['blockmirror:bandwidth'] = 'much'
        self.assertIn('blockmirror:bandwidth', self.refused())
        self.assert_untouched()

    def test_while_nova_compute_stops(self) -> None:
        self.driver.engine.leave()
        self.assertIn('is stopping', self.refused())
        self.assertEqual(SOURCE, self.guest.live_source)


class TestFailed(SwapCase):
    """Before the switch: an error with the reason, and nothing left of the new volume."""

    def setUp(self) -> None:
        super().setUp()
        self.old, self.new = info_of(RBD), info_of(HOST_DEVICE, NEW_ID)

    def test_a_destination_that_can_not_be_connected(self) -> None:
        self.host_driver.fails['connect'] = nova_exception.InternalError('no such target')
        self.assertRaises(nova_exception.InternalError, self.swap)
        self.assertEqual(SOURCE, self.guest.live_source)

    def test_a_config_that_can_not_be_made(self) -> None:
        self.host_driver.fails['config'] = KeyError('device_path')
        self.assertRaises(KeyError, self.swap)
        self.assertEqual(['connect', 'config', 'disconnect'], self.host_driver.calls)

    def test_a_plan_that_refuses(self) -> None:
        self.world.hypervisor.fail('probe', exception.DestinationSilent('silent'))
        self.assertIn('silent', self.refused())
        self.assertEqual(['connect', 'config', 'disconnect'], self.host_driver.calls)

    def test_a_copy_that_fails(self) -> None:
        self.guest.pivots = ['fail']
        reason = self.refused()
        self.assertIn(self.world.id, reason)
        self.assertEqual(SOURCE, self.guest.live_source)
        self.assertEqual('reverted', self.world.record().state.value)
        self.assertEqual(['connect', 'config', 'disconnect'], self.host_driver.calls)

    def test_an_error_of_the_clean_up_does_not_hide_the_reason(self) -> None:
        self.guest.pivots = ['fail']
        self.host_driver.fails['disconnect'] = OSError('rmdir')
        self.assertNotIn('rmdir', self.refused())

    def test_a_state_that_nobody_knows_keeps_both_volumes(self) -> None:
        self.guest.pivots = ['die']
        reason = self.refused()
        self.assertEqual('unknown', self.world.record().state.value)
        self.assertIn(self.world.id, reason)
        self.assertEqual(['connect', 'config'], self.host_driver.calls)

    def test_a_copy_that_is_left_running_keeps_both_volumes(self) -> None:
        self.guest.ready_after = 100.0
        self.world.later(50.0, self.driver.engine.leave)
        self.assertIn('left running', self.refused())
        self.assertEqual(['connect', 'config'], self.host_driver.calls)
        self.assertEqual('copying', self.world.record().state.value)
