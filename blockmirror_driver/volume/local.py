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
"""Volumes that this host has connected: a block device, or a file of a mounted share.

Of most kinds of storage QEMU knows nothing: os-brick connects the volume to the host, and leaves
in ``data.device_path`` where it is. That is what Nova attaches, and what is moved here. Nothing is
connected by these drivers: whoever asks (nova-compute, an operator) has done it.
"""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

from oslo_config import cfg

from blockmirror_driver import exception, model
from blockmirror_driver.model import BlockSource, Disk, FileSource
from blockmirror_driver.volume import attributes
from blockmirror_driver.volume.base import Capabilities, VolumeDriver
from blockmirror_driver.volume.connection_info import ConnectionInfo

#: File systems of the kernel's own, where no volume is.
_NO_SHARES = ('/dev/', '/proc/', '/sys/')


class BlockVolumeDriver(VolumeDriver):
    """A device of the host: ``local``, ``fibre_channel``, ``nvmeof``, ``iser`` and others."""

    def describe(self) -> Capabilities:
        """Return what the driver can do."""
        return Capabilities(protocol='')

    def disk(self, connection_info: ConnectionInfo, target_dev: str, conf: cfg.ConfigOpts) -> Disk:
        """Return the disk; see :meth:`VolumeDriver.disk`. Looks whether the path is a device."""
        path = _connected(connection_info)
        if not path.startswith('/dev/'):
            raise connection_info.error('device_path', 'is not below /dev')
        _check_kind(connection_info, path, stat.S_ISBLK, 'a block device')
        return attributes.disk(connection_info, BlockSource(path), target_dev, conf)


class FileVolumeDriver(VolumeDriver):
    """A file of a mounted share: ``file``, ``gpfs``, ``quobyte``, ``smbfs``, ``vzstorage``.

    ``data.format`` is ``raw`` (when missing) or ``qcow2``; no format is probed.
    """

    def describe(self) -> Capabilities:
        """Return what the driver can do."""
        return Capabilities(protocol='', formats=frozenset({'raw', 'qcow2'}))

    def disk(self, connection_info: ConnectionInfo, target_dev: str, conf: cfg.ConfigOpts) -> Disk:
        """Return the disk; see :meth:`VolumeDriver.disk`. Looks whether the path is a file."""
        path = _connected(connection_info)
        if path.startswith(_NO_SHARES):
            raise connection_info.error('device_path', 'is not a file of a share')
        _check_kind(connection_info, path, stat.S_ISREG, 'a file')
        return attributes.disk(
            connection_info,
            FileSource(path),
            target_dev,
            conf,
            image_format=image_format(connection_info),
        )


def image_format(info: ConnectionInfo) -> model.disk.Format:
    """Return the declared format.

    :raise UnsupportedVolume: it is another than raw and qcow2.
    """
    match info.text('format') or 'raw':
        case 'raw':
            return 'raw'
        case 'qcow2':
            return 'qcow2'
        case _:
            raise exception.UnsupportedVolume(
                f'{info.path("format")}: is neither raw nor qcow2',
                hint='convert the volume; only raw and qcow2 files are moved',
            )


def path_of(info: ConnectionInfo, key: str) -> str:
    """Return an absolute path without ``.`` and ``..``.

    :raise InvalidConnectionInfo: it is missing, or no such path.
    """
    path = info.required_text(key)
    if not path.startswith('/') or path.endswith('/') or {'.', '..'} & set(path.split('/')):
        raise info.error(key, 'is not an absolute path, or has . or .. in it')
    return path


def _connected(info: ConnectionInfo) -> str:
    if info.text('device_path') is None:
        raise exception.UnsupportedVolume(
            f'{info.path("device_path")}: is missing, so the volume is not connected to this host',
            hint='let nova-compute move it, or connect it with os-brick, which fills it in',
        )
    return path_of(info, 'device_path')


def _check_kind(
    info: ConnectionInfo, path: str, is_kind: Callable[[int], bool], name: str
) -> None:
    """Refuse what is there and of another kind; what is not there yet the plan will tell."""
    try:
        mode = Path(path).stat().st_mode
    except OSError:
        return
    if not is_kind(mode):
        raise info.error('device_path', f'is not {name}')
