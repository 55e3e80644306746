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
"""A file-backed iSCSI backend that needs nothing of the kernel.

Volumes are sparse files of one directory, exported by tgtd, an iSCSI target in user space, behind
CHAP. It is meant for labs, for small sites and for trying out native iSCSI disks. What it is not:
highly available (files and targets live on one host), nor replicated, nor fast.

- A target offers UNMAP, so that what a guest discards leaves the file.
- A snapshot or clone is a reflink where the file system can make one (XFS, btrfs), else a sparse
  copy. A copy takes time, so it is refused while the volume is attached: it would be of no moment.
- A volume is extended while it is not attached; tgtd does not tell initiators of a new size.
- A migrated volume keeps the name of its file, which Cinder's ``_name_id`` remembers, whether it
  was in use or not: a file is never renamed under an open target, nor onto its own source.
- Cinder's own services reach a volume through an initiator of the host: backups need one in the
  kernel. Images are read and written directly, in the file.

tgtd runs as root and reads ``volumes_dir``; see :doc:`/install/cinder`.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
from typing import Any

from cinder import exception, interface
from cinder.image import image_utils
from cinder.volume import driver, volume_utils
from oslo_concurrency import processutils
from oslo_log import log

from blockmirror_driver.cinder.target import FileTarget
from blockmirror_driver.conf import cinder as conf

LOG = log.getLogger(__name__)

_GIB = 1 << 30
#: One component of a path, and nothing that the target's configuration gives a meaning.
_NAME = re.compile(r'[A-Za-z0-9][A-Za-z0-9._-]{0,200}', re.ASCII)
_DIRECTORY = re.compile(r'(?:/[A-Za-z0-9._-]+)+', re.ASCII)


@interface.volumedriver
class TgtFileDriver(driver.VolumeDriver):
    """Sparse files behind tgtd; see the module."""

    VERSION = '1.0.0'
    #: There is no such job in the project's CI outside of its own tests.
    CI_WIKI_NAME = 'Blockmirror'

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.configuration.append_config_values(conf.BACKEND_OPTS)
        self.target_driver = FileTarget(configuration=self.configuration, executor=self._execute)
        self._name: str = self.configuration.safe_get('volume_backend_name') or 'tgtfile'

    @staticmethod
    def get_driver_options() -> list[Any]:
        """Return the options that a backend section may hold."""
        return [
            *conf.BACKEND_OPTS,
            *driver.BaseVD._get_oslo_driver_opts(  # noqa: SLF001 - Cinder's way for drivers
                'target_ip_address',
                'target_secondary_ip_addresses',
                'target_port',
                'target_prefix',
                'volumes_dir',
                'iscsi_write_cache',
                'reserved_percentage',
                'max_over_subscription_ratio',
            ),
        ]

    @property
    def _directory(self) -> pathlib.Path:
        return pathlib.Path(self.configuration.tgtfile_directory)

    def check_for_setup_error(self) -> None:
        """Make the directories, with mode 0700.

        :raise VolumeBackendAPIException: one is not usable, or CHAP could not be told to tgtd.
        """
        for option in ('tgtfile_directory', 'volumes_dir'):
            path = str(self.configuration.safe_get(option) or '')
            parts = pathlib.PurePath(path).parts
            if not _DIRECTORY.fullmatch(path) or {'.', '..'} & set(parts):
                raise _failed(f'{option} is not an absolute path of letters, digits and ._-')
        if self.configuration.target_prefix.count(':') != 1:
            raise _failed('target_prefix needs exactly one colon, as in iqn.2010-10.org.example:')
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._directory.chmod(0o700)
        except OSError as exc:
            raise _failed(f'tgtfile_directory: {exc.strerror}') from exc

    def local_path(self, volume: Any) -> str:
        """Return the path of a volume's or a snapshot's file."""
        return str(self._file(volume['name']))

    def _file(self, name: str) -> pathlib.Path:
        if not _NAME.fullmatch(name):
            raise _failed('the name of a volume can not be that of a file')
        return self._directory / name

    # Volumes.

    def create_volume(self, volume: Any) -> None:
        """Make a sparse file; one that is there already is refused, never reused."""
        path = self._file(volume['name'])
        try:
            number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as exc:
            raise _failed(f'{volume["name"]}: {exc.strerror}') from exc
        try:
            os.ftruncate(number, volume['size'] * _GIB)
        except OSError as exc:
            path.unlink()
            raise _failed(f'{volume["name"]}: {exc.strerror}') from exc
        finally:
            os.close(number)

    def delete_volume(self, volume: Any) -> None:
        """Delete the file; one that is gone already is fine."""
        self._unlink(volume['name'])

    def extend_volume(self, volume: Any, new_size: int) -> None:
        """Make the file larger. A target that is left is refreshed by the next attach.

        :raise VolumeBackendAPIException: the file would become smaller, or is not there.
        """
        self._grow(self._file(volume['name']), new_size * _GIB)

    def create_cloned_volume(self, volume: Any, src_vref: Any) -> None:
        """Copy another volume."""
        self._copy(src_vref['name'], volume['name'], attached=_attached(src_vref))
        self._grow(self._file(volume['name']), volume['size'] * _GIB)

    # Snapshots are files like volumes.

    def create_snapshot(self, snapshot: Any) -> None:
        """Copy the volume; see the module for one that is attached."""
        self._copy(snapshot['volume_name'], snapshot['name'], attached=_attached(snapshot.volume))

    def delete_snapshot(self, snapshot: Any) -> None:
        """Delete the snapshot's file; one that is gone already is fine."""
        self._unlink(snapshot['name'])

    def create_volume_from_snapshot(self, volume: Any, snapshot: Any) -> None:
        """Copy the snapshot."""
        self._copy(snapshot['name'], volume['name'], attached=False)
        self._grow(self._file(volume['name']), volume['size'] * _GIB)

    # Images.

    def clone_image(
        self,
        context: Any,
        volume: Any,
        image_location: Any,
        image_meta: Any,
        image_service: Any,
    ) -> tuple[dict[str, Any], bool]:
        """Say that Cinder has to fetch the image."""
        return {}, False

    def copy_image_to_volume(
        self,
        context: Any,
        volume: Any,
        image_service: Any,
        image_id: str,
        disable_sparse: bool = False,
    ) -> None:
        """Write the image into the volume's file, and give that its size again."""
        path = self._file(volume['name'])
        image_utils.fetch_to_raw(
            context,
            image_service,
            image_id,
            str(path),
            self.configuration.volume_dd_blocksize,
            size=volume['size'],
            run_as_root=False,
            disable_sparse=disable_sparse,
        )
        # qemu-img leaves a file as large as the image.
        self._grow(path, volume['size'] * _GIB)
        path.chmod(0o600)

    def copy_volume_to_image(
        self, context: Any, volume: Any, image_service: Any, image_meta: Any
    ) -> None:
        """Read the volume's file into an image."""
        volume_utils.upload_volume(
            context,
            image_service,
            image_meta,
            str(self._file(volume['name'])),
            volume,
            run_as_root=False,
        )

    # Exports.

    def ensure_export(self, context: Any, volume: Any) -> None:
        """Export again what tgtd forgot when it was restarted."""
        self.target_driver.ensure_export(context, volume, self.local_path(volume))

    def create_export(self, context: Any, volume: Any, connector: Any) -> dict[str, str]:
        """Export the volume behind CHAP."""
        made = self.target_driver.create_export(context, volume, self.local_path(volume))
        return {'provider_location': made['location'], 'provider_auth': made['auth']}

    def remove_export(self, context: Any, volume: Any) -> None:
        """Withdraw the target."""
        self.target_driver.remove_export(context, volume)

    def initialize_connection(self, volume: Any, connector: Any, **kwargs: Any) -> dict[str, Any]:
        """Tell how to log in. The unit takes UNMAP, so discard is offered."""
        info: dict[str, Any] = self.target_driver.initialize_connection(volume, connector)
        info['data']['discard'] = True
        return info

    def terminate_connection(self, volume: Any, connector: Any, **kwargs: Any) -> bool:
        """Tell whether another host is connected as well, which keeps the target exported.

        A volume has one target for all. During a live migration two hosts use it, and Cinder
        removes the export when it lets go of the first of them, unless it is told.
        """
        self.target_driver.terminate_connection(volume, connector, **kwargs)
        return sum(bool(one.connector) for one in volume.volume_attachment) > 1

    def validate_connector(self, connector: Any) -> bool:
        """Refuse a host that has no initiator's name."""
        return bool(self.target_driver.validate_connector(connector))

    # Migration.

    def update_migrated_volume(
        self, ctxt: Any, volume: Any, new_volume: Any, original_volume_status: str
    ) -> dict[str, Any]:
        """Let the volume's record name the file and the target that were made for its copy."""
        return {
            '_name_id': new_volume['_name_id'] or new_volume['id'],
            'provider_location': new_volume['provider_location'],
        }

    def _update_volume_stats(self) -> None:
        """Report the file system's room, and what was promised of it (GiB)."""
        room = os.statvfs(self._directory)
        promised = 0
        volumes = 0
        with os.scandir(self._directory) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    if entry.is_file(follow_symlinks=False) and _NAME.fullmatch(entry.name):
                        promised += entry.stat(follow_symlinks=False).st_size
                        volumes += 1
        self._stats = {
            'volume_backend_name': self._name,
            'vendor_name': 'Blockmirror',
            'driver_version': self.VERSION,
            'storage_protocol': 'iSCSI',
            'total_capacity_gb': room.f_blocks * room.f_frsize / _GIB,
            'free_capacity_gb': room.f_bavail * room.f_frsize / _GIB,
            'provisioned_capacity_gb': promised / _GIB,
            'total_volumes': volumes,
            'reserved_percentage': self.configuration.reserved_percentage,
            'max_over_subscription_ratio': self.configuration.max_over_subscription_ratio,
            'thin_provisioning_support': True,
            'thick_provisioning_support': False,
            # A new file reads as zeros, so zeros need not be written to it.
            'sparse_copy_volume': True,
            'online_extend_support': False,
            'multiattach': False,
            'QoS_support': False,
            'filter_function': self.get_filter_function(),
            'goodness_function': self.get_goodness_function(),
        }

    # Files.

    def _unlink(self, name: str) -> None:
        try:
            self._file(name).unlink()
        except FileNotFoundError:
            LOG.info('%s is gone already', name)
        except OSError as exc:
            raise _failed(f'{name}: {exc.strerror}') from exc

    @staticmethod
    def _grow(path: pathlib.Path, size: int) -> None:
        try:
            if path.stat().st_size > size:
                raise _failed(f'{path.name} is larger than it shall become')
            os.truncate(path, size)
        except OSError as exc:
            raise _failed(f'{path.name}: {exc.strerror}') from exc

    def _copy(self, source: str, name: str, *, attached: bool) -> None:
        """Copy a file; what is there under the name afterwards is whole."""
        path, to = self._file(source), self._file(name)
        if to.exists():
            raise _failed(f'{name}: is there already')
        part = to.with_name(f'.{name}.part')
        try:
            try:
                self._execute('cp', '--reflink=always', '--', str(path), str(part))
            except processutils.ProcessExecutionError:
                if attached:
                    raise
                self._execute(
                    'cp', '--reflink=never', '--sparse=always', '--', str(path), str(part)
                )
            part.chmod(0o600)
            part.rename(to)
        except processutils.ProcessExecutionError as exc:
            why = (
                'the file system has no reflinks, so an attached volume can not be copied'
                if attached
                else f'cp ended with {exc.exit_code}'
            )
            raise _failed(f'{source}: {why}') from exc
        finally:
            with contextlib.suppress(FileNotFoundError):
                part.unlink()


def _attached(volume: Any) -> bool:
    return bool(volume['attach_status'] not in (None, 'detached') or volume['volume_attachment'])


def _failed(why: str) -> Exception:
    error: Exception = exception.VolumeBackendAPIException(data=why)
    return error
