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
"""Files of NFS exports.

``data``: ``export`` (``host:/path``), ``name`` (the active file), ``format`` (``raw``,
``qcow2``; ``raw`` when missing), ``options`` (of mount). QEMU's client, libnfs, speaks
NFSv3 over TCP with AUTH_SYS, on the port that the server's portmapper tells.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from oslo_config import cfg

from blockmirror_driver.conf import GROUP
from blockmirror_driver.model import Disk, Host, Identity, NfsSource
from blockmirror_driver.volume import address, attributes, local, mount_options
from blockmirror_driver.volume import format as image
from blockmirror_driver.volume.base import Capabilities, VolumeDriver
from blockmirror_driver.volume.connection_info import ConnectionInfo


class NfsVolumeDriver(VolumeDriver):
    """Opens the file with QEMU's libnfs; the host mounts nothing."""

    def describe(self) -> Capabilities:
        """Return what the driver can do."""
        return Capabilities(
            protocol='nfs',
            formats=frozenset({'raw', 'qcow2'}),
            # libnfs has neither discard nor write zeroes.
            thin=False,
            block_module='nfs',
        )

    def disk(self, connection_info: ConnectionInfo, target_dev: str, conf: cfg.ConfigOpts) -> Disk:
        """Return the disk; see :meth:`VolumeDriver.disk`.

        Where the share happens to be mounted on this host the header of a qcow2 file is
        read, and one with a backing file or an external data file refused. Elsewhere that
        is left to the plan.
        """
        host, export = _export(connection_info)
        file = connection_info.required_text('name')
        if '/' in file or file in ('.', '..'):
            raise connection_info.error('name', 'is not the name of a file')
        options = mount_options.read(connection_info)
        image_format = local.image_format(connection_info)
        if image_format == 'qcow2':
            _inspect_mounted(connection_info, file)
        return attributes.disk(
            connection_info,
            NfsSource(host, export, file, _identity(conf)),
            target_dev,
            conf,
            image_format=image_format,
            readonly=options.readonly,
            notes=options.notes,
        )


def _export(info: ConnectionInfo) -> tuple[Host, str]:
    host, separator, path = info.required_text('export').partition(':/')
    if not separator:
        raise info.error('export', 'is not host:/path')
    path = f'/{path}'.rstrip('/') or '/'
    if {'.', '..'} & set(path.split('/')):
        raise info.error('export', 'has a path with . or .. in it')
    return Host(address.host(host, info.path('export'))), path


def _identity(conf: cfg.ConfigOpts) -> Identity | None:
    uid, gid = conf[GROUP].nfs_uid, conf[GROUP].nfs_gid
    return None if uid is None and gid is None else Identity(uid, gid)


def _inspect_mounted(info: ConnectionInfo, file: str) -> None:
    """Read the header where os-brick would have mounted the share."""
    base = info.text('mount_point_base')
    if base is None:
        return
    # The name of the directory is os-brick's (remotefs.get_mount_point); no secrecy in it.
    digest = hashlib.md5(info.required_text('export').encode(), usedforsecurity=False)
    path = Path(base) / digest.hexdigest() / file
    if path.is_file():
        image.check_file(path, 'qcow2')
