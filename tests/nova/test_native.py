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
"""Network disks as Nova handles them: the XML is ours, also after Nova has changed it."""

from __future__ import annotations

from typing import Any
from unittest import mock

from lxml import etree
from nova import exception as nova_exception
from nova import objects
from nova.virt.libvirt import config as vconfig
from nova.virt.libvirt import driver as libvirt_driver
from nova.virt.libvirt import migration
from nova.virt.libvirt.volume import net

from blockmirror_driver import disk_for, exception
from blockmirror_driver.model import BlockSource, IscsiSource, RbdSource
from blockmirror_driver.virt.secrets import SecretLifetime
from blockmirror_driver.xml import disk as xml_disk
from tests.nova.base import ISCSI, NFS, OLD_ID, RBD, SECRET_UUID, NovaTestCase, info_of

VDB = {'dev': 'vdb', 'bus': 'virtio', 'type': 'disk'}
DISK = SecretLifetime.DISK


class NativeCase(NovaTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.native('rbd', 'iscsi', 'nfs')
        self.secrets = self.world.hypervisor.fake_secrets

    def connect(self, info: dict[str, Any]) -> None:
        self.driver._connect_volume(mock.sentinel.context, info, self.instance)

    def disconnect(self, info: dict[str, Any]) -> None:
        self.driver._disconnect_volume(mock.sentinel.context, info, self.instance)

    def config(self, info: dict[str, Any], **disk_info: Any) -> vconfig.LibvirtConfigGuestDisk:
        self.connect(info)
        return self.driver._get_volume_config(info, {**VDB, **disk_info})


class TestXml(NativeCase):
    def test_it_is_what_our_room_builds(self) -> None:
        for template in (RBD, NFS):
            info = info_of(template)
            ours = disk_for(info, 'vdb')
            self.assertEqual(ours, xml_disk.parse(self.config(info).to_xml()))

    def test_novas_parser_reads_what_nova_looks_at(self) -> None:
        conf = self.config(info_of(RBD))
        read = vconfig.LibvirtConfigGuestDisk()
        read.parse_str(conf.to_xml())
        for name in (
            *('source_type', 'source_protocol', 'source_name', 'source_hosts', 'source_ports'),
            *('target_dev', 'target_bus', 'serial', 'alias', 'driver_format', 'driver_cache'),
            *('driver_discard', 'driver_io', 'readonly', 'shareable'),
        ):
            self.assertEqual(getattr(conf, name), getattr(read, name), name)
        self.assertEqual(f'ua-{OLD_ID}', read.alias)

    def test_rbd_cites_the_secret_that_novas_own_driver_cites(self) -> None:
        """So that going back to it needs nothing."""
        info = info_of(RBD)
        ours = etree.fromstring(self.config(info).to_xml())
        stock = etree.fromstring(
            net.LibvirtNetVolumeDriver(self.driver._host).get_config(info, VDB).to_xml()
        )
        for xpath in ('//secret/@uuid', '//secret/@type', '//auth/@username', '//serial/text()'):
            self.assertEqual(stock.xpath(xpath), ours.xpath(xpath))
        for xpath in ('//alias/@name', '//target/@dev', '//source/@name', '//host/@name'):
            self.assertEqual(stock.xpath(xpath), ours.xpath(xpath))
        self.assertEqual(stock.get('type'), ours.get('type'))

    def test_what_nova_sets_afterwards_counts(self) -> None:
        self.driver.disk_cachemodes = {'network': 'writeback'}
        conf = self.config(info_of(RBD))
        conf.driver_io = 'threads'
        conf.serial = 'another'
        conf.boot_order = '1'
        disk = xml_disk.parse(conf.to_xml())
        self.assertEqual(('writeback', 'threads'), (disk.driver.cache, disk.driver.io))
        self.assertEqual('another', disk.serial)
        self.assertIn('<boot order="1"/>', conf.to_xml())

    def test_a_cache_mode_that_is_left_to_the_hypervisor(self) -> None:
        self.driver.disk_cachemodes = {'network': 'default'}
        self.assertIsNone(xml_disk.parse(self.config(info_of(RBD)).to_xml()).driver.cache)

    def test_cacheable_leaves_the_cache_mode_to_nova(self) -> None:
        disk = xml_disk.parse(self.config(info_of(RBD, cacheable=True)).to_xml())
        self.assertEqual('none', disk.driver.cache)

    def test_an_address_on_the_scsi_bus(self) -> None:
        text = self.config(info_of(RBD), dev='sdc', bus='scsi', unit=7).to_xml()
        (address,) = etree.fromstring(text).findall('address')
        self.assertEqual(('drive', '7'), (address.get('type'), address.get('unit')))
        self.assertEqual(('sdc', 'scsi'), _target(text))

    def test_a_lun_has_neither_serial_nor_block_sizes(self) -> None:
        info = info_of(ISCSI, logical_block_size='4096', physical_block_size='4096')
        text = self.config(info, dev='sda', bus='scsi', type='lun').to_xml()
        self.assertNotIn('<serial>', text)
        self.assertNotIn('<blockio', text)
        self.assertIn('device="lun"', text)

    def test_block_sizes_qos_and_sharing(self) -> None:
        info = info_of(
            RBD,
            logical_block_size='4096',
            physical_block_size='4096',
            qos_specs={'total_iops_sec': '100'},
        )
        info['multiattach'] = True
        disk = xml_disk.parse(self.config(info).to_xml())
        self.assertEqual((4096, 4096), (disk.logical_block_size, disk.physical_block_size))
        assert disk.iotune is not None
        self.assertEqual(100, disk.iotune.total_iops_sec)
        self.assertTrue(disk.shareable)

    def test_zeroes_are_detected_where_the_operator_allows_and_discard_is_on(self) -> None:
        for allowed, discard, found in (
            (True, True, 'unmap'),
            (True, False, None),
            (False, True, None),
        ):
            self.conf.config(detect_zeroes=allowed, group='blockmirror')
            info = info_of(RBD, discard=discard)
            disk = xml_disk.parse(self.config(info).to_xml())
            self.assertEqual(found, disk.driver.detect_zeroes)
            self.disconnect(info)

    def test_rbd_of_before_cinder_gave_its_secret(self) -> None:
        self.conf.config(rbd_user='nova', rbd_secret_uuid=SECRET_UUID, group='libvirt')
        for data in ({'secret_uuid': None}, {'auth_enabled': False}):
            info = info_of(RBD, **data)
            disk = xml_disk.parse(self.config(info).to_xml())
            assert isinstance(disk.source, RbdSource)
            assert disk.source.auth is not None
            self.assertEqual('nova', disk.source.auth.username)
            self.assertEqual(SECRET_UUID, disk.source.auth.secret.uuid)
            self.disconnect(info)

    def test_live_migration_writes_the_same_disk(self) -> None:
        """Nova replaces the children of the guest's <disk> by those of the config."""
        info = info_of(RBD)
        conf = self.config(info)
        live = etree.fromstring(f'<domain><devices>{conf.to_xml()}</devices></domain>')
        element = live.find('devices/disk')
        assert element is not None
        element.append(etree.fromstring('<address type="pci" slot="0x05"/>'))
        bdm = objects.LibvirtLiveMigrateBDMInfo(
            serial=OLD_ID, connection_info=info, bus='virtio', dev='vdb', type='disk'
        )
        data = objects.LibvirtLiveMigrateData(bdms=[bdm])
        after = migration._update_volume_xml(
            live, data, self.instance, self.driver._get_volume_config
        )
        written = after.find('devices/disk')
        self.assertEqual(xml_disk.parse(conf.to_xml()), xml_disk.parse(written))
        self.assertEqual(1, len(written.findall('source')))
        self.assertEqual(1, len(written.findall('alias')))
        self.assertEqual('0x05', written.find('address').get('slot'))


def _target(text: str) -> tuple[str | None, str | None]:
    target = etree.fromstring(text).find('target')
    assert target is not None
    return target.get('dev'), target.get('bus')


class TestSecrets(NativeCase):
    def test_chap_is_a_secret_as_long_as_the_volume_is_connected(self) -> None:
        info = info_of(ISCSI)
        text = self.config(info).to_xml()
        self.assertNotIn('chap-password', text)
        owner = info['blockmirror']['owner']
        self.assertEqual({(owner, DISK)}, self.secrets.kept)
        source = xml_disk.parse(text).source
        assert isinstance(source, IscsiSource)
        assert source.auth is not None
        self.disconnect(info)
        self.assertEqual(set(), self.secrets.kept)
        self.assertNotIn('blockmirror', info)

    def test_the_secret_is_found_again_after_cinder_was_asked_anew(self) -> None:
        """Before a reboot Nova fetches the connection_info again, without our mark."""
        first = info_of(ISCSI)
        text = self.config(first).to_xml()
        again = info_of(ISCSI)
        self.disconnect(again)
        self.assertEqual(set(), self.secrets.kept)
        self.assertEqual(text, self.config(again).to_xml())
        self.assertEqual(1, len(self.secrets.kept))

    def test_connecting_again_changes_nothing(self) -> None:
        first, again = info_of(ISCSI), info_of(ISCSI)
        self.assertEqual(self.config(first).to_xml(), self.config(again).to_xml())
        self.assertEqual(1, len(self.secrets.kept))

    def test_a_secret_that_can_not_be_defined(self) -> None:
        self.secrets.fail('prepare', exception.SecretUnavailable('taken'))
        info = info_of(ISCSI)
        error = self.assertRaises(nova_exception.VolumeAttachFailed, self.connect, info)
        self.assertIn('taken', str(error))
        self.assertNotIn('blockmirror', info)

    def test_a_connection_info_that_must_not_be_trusted(self) -> None:
        """What our driver does not understand goes to Nova's own."""
        info = info_of(RBD, name='volumes/x:conf=/etc/shadow')
        stock = self.novas_own('rbd')
        self.connect(info)
        self.assertEqual(['connect'], stock.calls)

    def test_libvirt_away_at_disconnect_leaves_it_to_the_sweep(self) -> None:
        info = info_of(ISCSI)
        self.connect(info)
        self.world.hypervisor.away = True
        self.disconnect(info)

    def test_a_sweep_spares_what_is_connected(self) -> None:
        from blockmirror_driver.swap import cleanup

        info = info_of(ISCSI)
        self.connect(info)
        cleanup.sweep(self.world.hypervisor, self.world.journal)
        self.assertEqual(1, len(self.secrets.kept))
        self.disconnect(info)


class TestExtend(NativeCase):
    def test_nova_resizes_to_what_cinder_made_it(self) -> None:
        for template in (RBD, ISCSI, NFS):
            info = info_of(template)
            self.connect(info)
            self.assertEqual(2 << 30, self.driver._extend_volume(info, self.instance, 2 << 30))
            self.assertNotIn('device_path', info['data'])


class TestHostsDisk(NativeCase):
    """A disk of Nova's own driver is Nova's, but for the zeroes."""

    def test_zeroes_are_detected_there_too(self) -> None:
        self.native()
        self.novas_own('iscsi')
        for allowed, discard in ((True, True), (True, False), (False, True)):
            self.conf.config(detect_zeroes=allowed, group='blockmirror')
            conf = self.config(info_of(ISCSI))
            conf.driver_discard = 'unmap' if discard else None
            found = xml_disk.parse(conf.to_xml())
            both = allowed and discard
            self.assertEqual('unmap' if both else None, found.driver.detect_zeroes)
            self.assertEqual(BlockSource('/dev/disk/by-path/new'), found.source)
            self.assertEqual('native', found.driver.io)


class TestConnector(NativeCase):
    def test_the_initiator_is_the_one_that_qemu_logs_in_as(self) -> None:
        self.conf.config(iscsi_initiator_name='iqn.2026-11.lab:qemu', group='blockmirror')
        novas = {'initiator': 'iqn.2026-11.lab:host', 'host': 'compute-1'}
        with mock.patch.object(
            libvirt_driver.LibvirtDriver, 'get_volume_connector', lambda *_: dict(novas)
        ):
            found = self.driver.get_volume_connector(self.instance)
            self.assertEqual({**novas, 'initiator': 'iqn.2026-11.lab:qemu'}, found)
            self.native('rbd')
            self.assertEqual(novas, self.driver.get_volume_connector(self.instance))
