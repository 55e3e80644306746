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
"""Volumes that QEMU opens by itself, as Nova's volume drivers see them."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import nova.conf
from nova import exception as nova_exception
from nova.virt.block_device import get_volume_id
from nova.virt.libvirt.volume import volume as libvirt_volume
from oslo_config import cfg
from oslo_log import log as logging

from blockmirror_driver import exception
from blockmirror_driver.model import Disk
from blockmirror_driver.nova.attached import ConnectionInfo, owner_of
from blockmirror_driver.nova.disks import NativeDisk
from blockmirror_driver.nova.engine import Engine
from blockmirror_driver.swap import cleanup
from blockmirror_driver.virt import secrets
from blockmirror_driver.virt.secrets import SecretLifetime
from blockmirror_driver.volume import portals, registry

LOG = logging.getLogger(__name__)


class NativeVolumeDriver(libvirt_volume.LibvirtBaseVolumeDriver):
    """Connects any kind of volume that a driver of ours is registered for.

    The host gets nothing but libvirt secrets, where the connection_info carries what they
    hold: their owner stands in the connection_info's mark, see
    :mod:`blockmirror_driver.nova.attached`.

    :param engine: open by the time that a volume is connected.
    """

    def __init__(self, host: Any, engine: Engine, conf: cfg.ConfigOpts) -> None:
        super().__init__(host, is_block_dev=False)
        self._engine = engine
        self._conf = conf

    def connect_volume(self, connection_info: ConnectionInfo, instance: Any) -> None:
        """Define the secrets that the disk will cite.

        :raise VolumeAttachFailed: with the reason; what was defined is gone again.
        """
        try:
            disk = self.disk(connection_info)
            for note in disk.notes:
                LOG.info('%s', note, instance=instance)
            owner = owner_of(connection_info)
            if disk.secrets and owner is not None:
                store = self._engine.hypervisor.secrets
                store.prepare(disk, owner, lifetime=SecretLifetime.DISK)
        except exception.BlockmirrorError as error:
            self.disconnect_volume(connection_info, instance)
            raise _refused(connection_info, error) from error

    def disconnect_volume(
        self,
        connection_info: ConnectionInfo,
        instance: Any,
        force: bool = False,
    ) -> None:
        """Undefine the secrets, unless a domain's XML still cites them; the sweep does then.

        Never raises: QEMU has closed the volume, and nothing else of it is on this host.
        """
        owner = owner_of(connection_info)
        try:
            if owner is None or not self.disk(connection_info).secrets:
                return
            hypervisor = self._engine.hypervisor
            cited = cleanup.cited(hypervisor)
            hypervisor.secrets.discard(owner, SecretLifetime.DISK, cited=cited)
        except exception.BlockmirrorError as error:
            LOG.warning('Secrets of a volume are left to the sweep: %s', error, instance=instance)

    def get_config(self, connection_info: ConnectionInfo, disk_info: dict[str, Any]) -> NativeDisk:
        """Return the disk.

        :raise VolumeAttachFailed: when the connection_info can't be understood.
        """
        common = super().get_config(connection_info, disk_info)
        try:
            disk = self.disk(connection_info, disk_info['dev'])
            timeout = self._conf.blockmirror.iscsi_portal_timeout
            disk = portals.choose(disk, timeout)
            if disk.secrets:
                owner = owner_of(connection_info) or ''
                disk = secrets.cite(disk, owner, lifetime=SecretLifetime.DISK)
        except exception.BlockmirrorError as error:
            raise _refused(connection_info, error) from error
        # Nova's cache modes, by option, start from this one.
        disk = replace(disk, driver=replace(disk.driver, cache='none'))
        return NativeDisk(disk, common)

    def extend_volume(
        self, connection_info: ConnectionInfo, instance: Any, requested_size: int
    ) -> int:
        """Return the size: Cinder has extended the volume, and Nova tells QEMU next."""
        return requested_size

    def disk(self, connection_info: ConnectionInfo, dev: str = 'vda') -> Disk:
        """Return the disk as our driver reads it.

        :raise Refused: it can't be understood, or we do not open such a volume.
        """
        return registry.disk_for(with_novas_defaults(connection_info), dev, conf=self._conf)


def _refused(
    connection_info: ConnectionInfo, error: exception.BlockmirrorError
) -> nova_exception.VolumeAttachFailed:
    return nova_exception.VolumeAttachFailed(
        volume_id=get_volume_id(connection_info), reason=f'{error.message}. {error.hint}'.strip()
    )


def with_novas_defaults(connection_info: ConnectionInfo) -> ConnectionInfo:
    """Fill in what Nova's own driver takes from ``[libvirt]`` for old rbd connections.

    The result may share parts with what was given, which is not changed.
    """
    data = connection_info.get('data')
    if connection_info.get('driver_volume_type') != 'rbd' or not isinstance(data, dict):
        return connection_info
    uuid, user = nova.conf.CONF.libvirt.rbd_secret_uuid, nova.conf.CONF.libvirt.rbd_user
    lacks = not data.get('auth_enabled') or not (data.get('secret_uuid') or data.get('keyring'))
    if not uuid or not lacks:
        return connection_info
    filled = copy.copy(connection_info)
    filled['data'] = {**data, 'auth_enabled': True, 'secret_uuid': uuid, 'auth_username': user}
    return filled
