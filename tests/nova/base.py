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
"""A nova-compute without libvirt: Nova's own classes around a guest of our unit tests."""

from __future__ import annotations

import copy
import json
import unittest
from typing import Any
from unittest import mock

import fixtures
import nova.conf
import testtools
from nova import exception as nova_exception
from nova import objects
from nova.virt.libvirt import config as vconfig
from oslo_config import fixture as config_fixture

from blockmirror_driver import conf as our_conf
from blockmirror_driver.nova.driver import LibvirtDriver
from blockmirror_driver.nova.guard import Guard
from tests.unit.swap.world import World

CONF = nova.conf.CONF
objects.register_all()

INSTANCE_UUID = '7d3b3a1e-9d3f-4a57-8f3e-000000000001'
OLD_ID = '0a7f7c10-5f1c-4d0c-9c1b-000000000001'
NEW_ID = '0a7f7c10-5f1c-4d0c-9c1b-000000000002'
SECRET_UUID = '6cd1ba1c-2a4b-4c3f-9d3a-111111111111'

RBD: dict[str, Any] = {
    'driver_volume_type': 'rbd',
    'data': {
        'name': f'volumes/volume-{OLD_ID}',
        'hosts': ['127.0.0.1'],
        'ports': ['6789'],
        'cluster_name': 'ceph',
        'auth_enabled': True,
        'auth_username': 'cinder',
        'secret_type': 'ceph',
        'secret_uuid': SECRET_UUID,
        'volume_id': OLD_ID,
        'discard': True,
        'qos_specs': None,
        'access_mode': 'rw',
        'encrypted': False,
        'cacheable': False,
    },
    'serial': OLD_ID,
}
ISCSI: dict[str, Any] = {
    'driver_volume_type': 'iscsi',
    'data': {
        'target_portal': '127.0.0.1:3260',
        'target_iqn': f'iqn.2010-10.org.openstack:volume-{OLD_ID}',
        'target_lun': 1,
        'auth_method': 'CHAP',
        'auth_username': 'user',
        'auth_password': 'chap-password',
        'volume_id': OLD_ID,
        'qos_specs': None,
        'access_mode': 'rw',
        'encrypted': False,
    },
    'serial': OLD_ID,
}
NFS: dict[str, Any] = {
    'driver_volume_type': 'nfs',
    'data': {
        'export': '127.0.0.1:/export',
        'name': f'volume-{OLD_ID}',
        'options': None,
        'format': 'raw',
        'volume_id': OLD_ID,
        'qos_specs': None,
        'access_mode': 'rw',
        'encrypted': False,
    },
    'mount_point_base': '/var/lib/cinder/mnt',
    'serial': OLD_ID,
}


def info_of(template: dict[str, Any], volume_id: str = OLD_ID, **data: Any) -> dict[str, Any]:
    """Return a connection_info of another volume, with some keys changed."""
    text = json.dumps(template).replace(OLD_ID, volume_id)
    info: dict[str, Any] = json.loads(text)
    info['data'].update(data)
    return info


class Instance:
    """As much of an instance as the driver looks at."""

    uuid = INSTANCE_UUID
    name = 'instance-00000001'
    host = 'compute-1'

    def __getitem__(self, key: str) -> Any:
        return getattr(self, key)


class NovaGuest:
    """Nova's view of a guest: the disks in its XML."""

    def __init__(self, *disks: vconfig.LibvirtConfigGuestDisk) -> None:
        self.disks = list(disks)

    def get_all_disks(self) -> list[vconfig.LibvirtConfigGuestDisk]:
        return self.disks


class Recorder:
    """A volume driver of Nova's that remembers what it was called for."""

    def __init__(self, config: Any = None) -> None:
        self.calls: list[str] = []
        self.fails: dict[str, Exception] = {}
        self.config = config

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if name in self.fails:
            raise self.fails[name]

    def connect_volume(self, connection_info: dict[str, Any], instance: Any) -> None:
        self._called('connect')
        connection_info['data']['device_path'] = '/dev/disk/by-path/new'

    def disconnect_volume(
        self, connection_info: dict[str, Any], instance: Any, force: bool = False
    ) -> None:
        self._called('disconnect')

    def get_config(self, connection_info: dict[str, Any], disk_info: dict[str, Any]) -> Any:
        self._called('config')
        conf = vconfig.LibvirtConfigGuestDisk()
        conf.source_type, conf.source_path = 'block', connection_info['data']['device_path']
        conf.driver_name, conf.driver_format, conf.driver_cache = 'qemu', 'raw', 'none'
        conf.driver_io = 'native'
        conf.target_dev, conf.target_bus = disk_info['dev'], disk_info['bus']
        conf.serial = connection_info['serial']
        return conf

    def extend_volume(self, connection_info: dict[str, Any], instance: Any, size: int) -> int:
        self._called('extend')
        return size


class Cinder:
    """The volumes as Nova's client returns them."""

    def __init__(self) -> None:
        self.connections: dict[str, dict[str, Any]] = {}
        self.volumes: dict[str, dict[str, Any]] = {
            OLD_ID: {'id': OLD_ID, 'size': 1, 'migration_status': 'migrating'},
            NEW_ID: {
                'id': NEW_ID,
                'size': 1,
                'migration_status': f'target:{OLD_ID}',
                'volume_type_id': 'fast',
            },
        }

        #: What Cinder was told, and what it answers with an error, once each.
        self.told: list[tuple[Any, ...]] = []
        self.fails: dict[str, Exception] = {}
        #: Answers that are lost: the effect is there, the caller gets the error.
        self.loses: dict[str, Exception] = {}

    def get(self, context: Any, volume_id: str) -> dict[str, Any]:
        self._called('get')
        if volume_id not in self.volumes:
            raise nova_exception.VolumeNotFound(volume_id=volume_id)
        return {'status': 'retyping', **copy.deepcopy(self.volumes[volume_id])}

    def _called(self, name: str, *args: Any) -> None:
        if name in self.fails:
            raise self.fails[name]
        if name != 'get':
            self.told.append((name, *args))

    def attachment_get(self, context: Any, attachment_id: str) -> dict[str, Any]:
        self._called('get')
        return {'connection_info': copy.deepcopy(self.connections[attachment_id])}

    def attachment_complete(self, context: Any, attachment_id: str) -> None:
        self._called('complete', attachment_id)

    def attachment_delete(self, context: Any, attachment_id: str) -> None:
        self._called('delete', attachment_id)

    def roll_detaching(self, context: Any, volume_id: str) -> None:
        self._called('roll', volume_id)

    def migrate_volume_completion(
        self, context: Any, old_id: str, new_id: str, error: bool = False
    ) -> dict[str, str]:
        self._called('completion', old_id, new_id, error)
        self.volumes[old_id]['migration_status'] = 'error' if error else 'success'
        del self.volumes[new_id]
        if 'completion' in self.loses:
            raise self.loses.pop('completion')
        return {'save_volume_id': old_id}

    def get_volume_encryption_metadata(self, context: Any, volume_id: str) -> dict[str, Any]:
        return {}


class NovaTestCase(testtools.TestCase, unittest.TestCase):
    """A driver that was made by Nova's rules and not started."""

    def setUp(self) -> None:
        super().setUp()
        self.world = World(self.useFixture(fixtures.TempDir()).path)
        self.guest = self.world.guest
        self.conf = self.useFixture(config_fixture.Config(CONF))
        CONF([], project='nova', default_config_files=[])
        our_conf.register_opts(CONF)
        self.conf.config(virt_type='qemu', group='libvirt')
        self.conf.config(journal_path=str(self.world.journal.path), group='blockmirror')
        self.conf.config(iscsi_portal_timeout=0, group='blockmirror')
        self.manager = mock.Mock(spec=['volume_api', '_shutdown_in_progress'])
        self.driver = LibvirtDriver(mock.Mock(_compute=self.manager))
        self.cinder = Cinder()
        self.driver._volume_api = self.cinder
        self.driver.guard = Guard(self.cinder)
        self.driver.engine.hypervisor = self.world.hypervisor
        self.driver.engine.journal = self.world.journal
        self.instance = Instance()
        self.nova_guest: NovaGuest | None = NovaGuest()
        self.useFixture(fixtures.MockPatchObject(self.driver._host, 'get_guest', self._get_guest))
        self.useFixture(
            fixtures.MockPatchObject(self.driver._host, 'find_secret', lambda *_: None)
        )

    def _get_guest(self, instance: Any) -> NovaGuest:
        if self.nova_guest is None:
            raise nova_exception.InstanceNotFound(instance_id=instance.uuid)
        return self.nova_guest

    def native(self, *protocols: str) -> None:
        """Set the protocols that QEMU opens by itself."""
        self.conf.config(native_protocols=list(protocols), group='blockmirror')

    def novas_own(self, kind: str) -> Recorder:
        """Put a stand-in where Nova's own driver of a kind would be."""
        recorder = Recorder()
        self.driver.volume_drivers[kind] = recorder
        return recorder
