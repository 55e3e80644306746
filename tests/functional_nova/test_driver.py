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
"""The compute driver on a real libvirt, with guests that write; the manager is a stand-in.

    python -m tests.lab run -- VENV/bin/python -m pytest tests/functional_nova

where VENV has Nova.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

import nova.conf
from lxml import etree
from nova import exception as nova_exception
from nova import objects
from nova.virt.libvirt import guest as nova_guest

from blockmirror_driver import conf as our_conf
from blockmirror_driver.model import Seconds
from blockmirror_driver.nova.driver import LibvirtDriver
from blockmirror_driver.xml import disk as xml_disk
from tests.functional.base import MIB, SIZE, LabTestCase
from tests.lab.guest.guest import Guest
from tests.lab.lab import Lab
from tests.lab.volumes import Volume
from tests.nova.base import Instance

CONF = nova.conf.CONF
KINDS = ('rbd', 'iscsi', 'nfs')


def _spawn(function: Callable[[], None]) -> None:
    threading.Thread(target=function, daemon=True).start()


class LiveInstance(Instance):
    """An instance whose guest is the lab's."""

    def __init__(self, guest: Guest) -> None:
        self.uuid = guest.domain.UUIDString()
        self.name = guest.name
        self.image_meta = objects.ImageMeta.from_dict({})
        self.device_metadata = None

    def save(self) -> None:
        pass


class Volumes:
    """Cinder as Nova's client shows it, in the middle of a migration."""

    def __init__(self, old: Volume, new: Volume) -> None:
        self.found: dict[str, dict[str, Any]] = {
            old.id: {'id': old.id, 'migration_status': 'migrating'},
            new.id: {
                'id': new.id,
                'migration_status': f'target:{old.id}',
            },
        }

    def get(self, context: Any, volume_id: str) -> dict[str, Any]:
        return {'status': 'retyping', **self.found[volume_id]}

    def attachment_complete(self, context: Any, attachment_id: str) -> None:
        pass

    def attachment_delete(self, context: Any, attachment_id: str) -> None:
        pass

    def migrate_volume_completion(
        self, context: Any, old_id: str, new_id: str, error: bool = False
    ) -> None:
        self.found[old_id]['migration_status'] = 'error' if error else 'success'
        self.found[new_id]['migration_status'] = None


class DriverTestCase(LabTestCase):
    driver: ClassVar[LibvirtDriver]
    folder: ClassVar[tempfile.TemporaryDirectory[str]]

    @classmethod
    def setUpClass(cls) -> None:
        """One driver for all, since a process has one event loop of libvirt."""
        super().setUpClass()
        cls.folder = tempfile.TemporaryDirectory()
        CONF([], project='nova', default_config_files=[])
        our_conf.register_opts(CONF)
        CONF.set_override('virt_type', 'qemu', 'libvirt')
        CONF.set_override('connection_uri', Lab.from_env().uri, 'libvirt')
        CONF.set_override('native_protocols', list(KINDS), 'blockmirror')
        CONF.set_override('journal_path', str(Path(cls.folder.name) / 'j.sqlite'), 'blockmirror')
        CONF.set_override('call_timeout', 60.0, 'blockmirror')
        manager = mock.Mock(spec=['volume_api'])
        cls.driver = LibvirtDriver(mock.Mock(_compute=manager))
        # Nova's thread for lost connections never ends, and its pool is waited for at exit.
        with mock.patch('nova.virt.libvirt.host.thread_pool_factory.spawn', _spawn):
            cls.driver._host.initialize()
        cls.driver.engine.open()

    @classmethod
    def tearDownClass(cls) -> None:
        cls.driver.engine.close()
        cls.folder.cleanup()
        super().tearDownClass()

    def info(self, volume: Volume) -> dict[str, Any]:
        info = volume.connection_info()
        info['serial'] = volume.id
        return info

    def nova_swap(self, guest: Guest, old: Volume, new: Volume) -> dict[str, Any]:
        instance = LiveInstance(guest)
        old_info, new_info = self.info(old), self.info(new)
        mapping = mock.Mock(attachment_id='old')
        client = mock.Mock()
        client.attachments.list.return_value = [mock.Mock(id='new')]
        with (
            mock.patch(
                'blockmirror_driver.nova.volume_swap.cinder.cinderclient', lambda *_, **__: client
            ),
            mock.patch.object(self.driver, '_volume_api', Volumes(old, new)),
            mock.patch.object(objects.Instance, 'get_by_uuid', lambda *_: instance),
            mock.patch.object(
                objects.BlockDeviceMapping, 'get_by_volume_and_instance', return_value=mapping
            ),
        ):
            self.driver.swap_volume(mock.Mock(), old_info, new_info, instance, '/dev/vda', 0)
        self.assertEqual((), self.driver.engine.journal.duties.owed())
        return new_info


class TestSwap(DriverTestCase):
    def test_novas_event_loop_brings_our_events(self) -> None:
        self.assertTrue(self.driver.engine.hypervisor.events_arrive(Seconds(5)))

    def test_between_network_disks(self) -> None:
        for source, destination in (('rbd', 'iscsi'), ('iscsi', 'nfs'), ('nfs', 'rbd')):
            old, new = self.volume(source, filled=True), self.volume(destination)
            guest = self.writing_guest(old)
            new_info = self.nova_swap(guest, old, new)
            guest.wait_acked(20)
            self.assert_on(guest, new)
            self.assertEqual('native', new_info['blockmirror']['how'])
            serial = self.source_of(guest).findtext('serial')
            self.assertEqual(old.id, serial)
            self.assert_survived(guest, new)
            instance = LiveInstance(guest)
            guest.destroy()
            self.driver._disconnect_volume(mock.Mock(), new_info, instance)
            self.assertEqual(set(), self.our_secrets() - self._secrets_before)

    def test_to_a_larger_one(self) -> None:
        """Refused; where it is allowed the guest has all of it, and its next definition too."""
        old, new = self.volume('nfs', filled=True), self.volume('rbd', SIZE + 8 * MIB)
        guest = self.writing_guest(old)
        error = self.assertRaises(
            nova_exception.VolumeRebaseFailed, self.nova_swap, guest, old, new
        )
        self.assertIn('bytes too large', str(error))
        self.assert_on(guest, old)
        CONF.set_override('allow_larger', True, 'blockmirror')
        self.addCleanup(CONF.clear_override, 'allow_larger', 'blockmirror')
        self.nova_swap(guest, old, new)
        self.assertEqual(SIZE + 8 * MIB, guest.size('vda'))
        for inactive in (False, True):
            disk = self.source_of(guest, inactive=inactive)
            self.assertIn(new.name, etree.tostring(disk, encoding=str))
        self.assertIsNone(disk.find('source/slices'))
        guest.wait_acked(20)
        # Of one size again, from a disk whose live XML may still tell of a part.
        third = self.volume('iscsi', SIZE + 8 * MIB)
        self.nova_swap(guest, new, third)
        self.assert_on(guest, third)
        self.assertEqual(SIZE + 8 * MIB, guest.size('vda'))
        guest.wait_acked(20)
        self.assert_survived_in_part(guest, third)

    def test_refused_by_the_probe_leaves_nothing(self) -> None:
        old, new = self.volume('rbd'), self.volume('iscsi')
        guest = self.guest(old)
        new.delete()
        self.assertRaises(nova_exception.VolumeRebaseFailed, self.nova_swap, guest, old, new)
        self.assert_on(guest, old)
        self.assertEqual(set(), self.our_secrets() - self._secrets_before)


class TestAttach(DriverTestCase):
    def test_attach_and_detach(self) -> None:
        root = self.volume('rbd')
        guest = self.guest(root)
        instance = LiveInstance(guest)
        metadata = mock.patch.object(self.driver, '_build_device_metadata', return_value=None)
        metadata.start()
        self.addCleanup(metadata.stop)
        for kind in KINDS:
            volume = self.volume(kind)
            info = self.info(volume)
            context = mock.Mock()
            self.driver.attach_volume(context, info, instance, '/dev/vdb', disk_bus='virtio')
            for flags in (0, 2):
                disk = _disk(guest, 'vdb', flags)
                self.assertEqual(f'ua-{volume.id}', _attribute(disk, 'alias', 'name'))
                wanted = self.driver._get_volume_config(
                    info, {'dev': 'vdb', 'bus': 'virtio', 'type': 'disk'}
                )
                self.assertEqual(xml_disk.parse(wanted.to_xml()), xml_disk.parse(disk))
            # As Nova looks for it again, with Nova's own parser.
            (found,) = (
                each
                for each in nova_guest.Guest(guest.domain).get_all_disks()
                if each.serial == volume.id
            )
            self.assertEqual(kind, found.source_protocol)
            self.driver.detach_volume(context, info, instance, '/dev/vdb')
            self.assertIsNone(_disk(guest, 'vdb', 0))
            self.assertIsNone(_disk(guest, 'vdb', 2))
            self.assertEqual(set(), self.our_secrets() - self._secrets_before)
            self.assertNotIn('blockmirror', info)


def _disk(guest: Guest, dev: str, flags: int) -> Any:
    for disk in etree.fromstring(guest.domain.XMLDesc(flags)).iter('disk'):
        if _attribute(disk, 'target', 'dev') == dev:
            return disk
    return None


def _attribute(disk: Any, tag: str, name: str) -> str | None:
    element = disk.find(tag)
    return None if element is None else element.get(name)
