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
"""Volumes on every kind of backend, as Cinder would hand them out.

A volume knows four views of itself: Cinder's connection_info (for the driver under test), a
``<disk>`` element (for the guest to boot with, written independently of the driver), the space
that it takes on its backend, and its content as the backend has it.
"""

import abc
import json
import os
import pathlib
import shutil
import socket
import uuid
from typing import Any, ClassVar, Self
from xml.sax.saxutils import quoteattr

from tests.lab import ceph, iscsi
from tests.lab.lab import Lab
from tests.lab.layout import LabError
from tests.lab.pattern import Base
from tests.lab.process import Identity, end, run

MIB = 1 << 20
_CHUNK = MIB


class Volume(abc.ABC):
    """One raw volume; :meth:`create` makes it, :meth:`delete` (or ``with``) removes it.

    :ivar id: Cinder's volume id, a fresh one for each object
    :ivar size: virtual size in bytes, once created
    """

    #: Kind of backend, by which tests name it.
    kind: ClassVar[str]
    #: ``type`` of the ``<disk>``.
    disk_type: ClassVar[str] = 'network'

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.id = str(uuid.uuid4())
        self.size = 0

    @property
    def name(self) -> str:
        """Name on the backend, in Cinder's default template."""
        return f'volume-{self.id}'

    def create(self, size: int) -> Self:
        """Make the volume, all zeros and sparse, of `size` bytes.

        :raise LabError: the backend refused
        """
        if size <= 0 or size % 4096:
            raise LabError(self.kind, f'{size} is not a positive multiple of 4096')
        self._create(size)
        self.size = size
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.delete()

    @abc.abstractmethod
    def _create(self, size: int) -> None: ...

    @abc.abstractmethod
    def delete(self) -> None:
        """Remove the volume; nothing happens if it is gone."""

    @abc.abstractmethod
    def connection_info(self) -> dict[str, Any]:
        """A fresh ``{'driver_volume_type': ..., 'data': ...}``, which may hold secrets."""

    @abc.abstractmethod
    def source_xml(self) -> str:
        """The ``<source>`` element; it refers to the lab's own libvirt secrets."""

    @abc.abstractmethod
    def allocated(self) -> int:
        """Bytes that the volume takes on its backend."""

    @abc.abstractmethod
    def read_back(self) -> pathlib.Path:
        """Path of a raw file with the content that the backend has now; only to be read."""

    @abc.abstractmethod
    def write(self, base: Base, length: int) -> None:
        """Put the first `length` bytes of `base` on the volume, while nobody uses it."""

    def disk_xml(
        self,
        dev: str,
        *,
        bus: str = 'virtio',
        driver: str = "cache='none'",
        serial: str | None = None,
        extra: str = '',
    ) -> str:
        """A ``<disk>`` for the volume.

        :param driver: attributes of ``<driver>``, such as ``discard='unmap'``
        :param serial: the volume's id if None; '' leaves it out
        :param extra: further child elements
        """
        shown = self.id if serial is None else serial
        serial_xml = f'<serial>{shown}</serial>' if shown else ''
        return (
            f"<disk type='{self.disk_type}' device='disk'>"
            f"<driver name='qemu' type='raw' {driver}/>{self.source_xml()}"
            f"<target dev='{dev}' bus='{bus}'/>{serial_xml}{extra}</disk>"
        )

    def _info(self, kind: str, data: dict[str, Any]) -> dict[str, Any]:
        common = {
            'volume_id': self.id,
            'qos_specs': None,
            'access_mode': 'rw',
            'encrypted': False,
            'cacheable': False,
        }
        return {'driver_volume_type': kind, 'data': {**data, **common}}


class BackedVolume(Volume):
    """A volume whose content is a file below the lab's root."""

    @property
    def path(self) -> pathlib.Path:
        """The file."""
        return self.lab.layout.volumes / self.kind / self.name

    def _create(self, size: int) -> None:
        self.path.parent.mkdir(mode=0o711, exist_ok=True)
        with self.path.open('xb') as made:
            made.truncate(size)

    def delete(self) -> None:
        """Remove the file."""
        self.path.unlink(missing_ok=True)

    def allocated(self) -> int:
        """Bytes of the file system that the file takes."""
        return self.path.stat().st_blocks * 512

    def read_back(self) -> pathlib.Path:
        """The file itself."""
        return self.path

    def write(self, base: Base, length: int) -> None:
        """Write straight into the file."""
        with self.path.open('r+b') as out:
            _pour(base, length, out.fileno())


class FileVolume(BackedVolume):
    """A file on the host, as from a shared file system that the host has mounted."""

    kind = 'file'
    disk_type = 'file'

    def connection_info(self) -> dict[str, Any]:
        """The form of Cinder's drivers for mounted file systems (``gpfs``)."""
        return self._info('gpfs', {'name': self.name, 'device_path': str(self.path)})

    def source_xml(self) -> str:
        """A ``<source file=...>``."""
        return f'<source file={quoteattr(str(self.path))}/>'


class NfsVolume(BackedVolume):
    """A file on the NFS export, used by QEMU's own NFS client."""

    kind = 'nfs'

    def _create(self, size: int) -> None:
        super()._create(size)
        self.path.chmod(0o666)  # as Cinder does unless nas_secure_file_permissions is set

    def connection_info(self) -> dict[str, Any]:
        """What Cinder's NFS driver answers."""
        data = {'export': self.lab.nfs.export, 'name': self.name, 'options': None, 'format': 'raw'}
        info = self._info('nfs', data)
        info['mount_point_base'] = '/var/lib/cinder/mnt'
        return info

    def source_xml(self) -> str:
        """A network source; root on the export, where nobody is squashed."""
        return (
            f"<source protocol='nfs' name={quoteattr(str(self.path))}><host name='127.0.0.1'/>"
            "<identity user='+0' group='+0'/></source>"
        )


class IscsiVolume(BackedVolume):
    """A LUN behind CHAP."""

    kind = 'iscsi'
    target: iscsi.Target | None = None

    def _create(self, size: int) -> None:
        super()._create(size)
        self.target = self.lab.iscsi.add(self.name, self.path)

    def delete(self) -> None:
        """Withdraw the target and remove its file."""
        if self.target:
            self.lab.iscsi.remove(self.target)
            self.target = None
        super().delete()

    @property
    def iqn(self) -> str:
        """Name of the target."""
        return f'{iscsi.IQN_PREFIX}:{self.name}'

    def connection_info(self) -> dict[str, Any]:
        """What Cinder's LVM driver answers; it holds the CHAP password."""
        data = {
            'target_discovered': False,
            'target_portal': iscsi.PORTAL,
            'target_iqn': self.iqn,
            'target_lun': iscsi.LUN,
            'auth_method': 'CHAP',
            'auth_username': self.lab.credentials.chap_username,
            'auth_password': self.lab.credentials.chap_password,
            'discard': True,
        }
        return self._info('iscsi', data)

    def source_xml(self) -> str:
        """A network source with the lab's CHAP secret."""
        host, _, port = iscsi.PORTAL.rpartition(':')
        known = self.lab.credentials
        return (
            f"<source protocol='iscsi' name='{self.iqn}/{iscsi.LUN}'>"
            f"<host name='{host}' port='{port}'/><auth username='{known.chap_username}'>"
            f"<secret type='iscsi' uuid='{known.iscsi_secret_uuid}'/></auth>"
            f"<initiator><iqn name='{iscsi.INITIATOR}'/></initiator></source>"
        )


class BlockVolume(BackedVolume):
    """A block device of the host: a loop device."""

    kind = 'block'
    disk_type = 'block'
    device = ''

    def _create(self, size: int) -> None:
        super()._create(size)
        self.device = run(['losetup', '--find', '--show', str(self.path)]).strip()

    def delete(self) -> None:
        """Detach the device and remove its file."""
        if self.device:
            run(['losetup', '--detach', self.device])
            self.device = ''
        super().delete()

    def read_back(self) -> pathlib.Path:
        """The file below the device, after the device's cache was flushed."""
        run(['blockdev', '--flushbufs', self.device])
        return self.path

    def write(self, base: Base, length: int) -> None:
        """Write through the device."""
        with pathlib.Path(self.device).open('r+b', buffering=0) as out:
            _pour(base, length, out.fileno())
            os.fsync(out.fileno())

    def connection_info(self) -> dict[str, Any]:
        """The form of os-brick's local connector."""
        return self._info('local', {'device_path': self.device})

    def source_xml(self) -> str:
        """A ``<source dev=...>``."""
        return f"<source dev='{self.device}'/>"


class NbdVolume(BackedVolume):
    """An export of a qemu-nbd of its own, over TCP or a socket.

    :param unix: over a socket of the host
    """

    kind = 'nbd'

    def __init__(self, lab: Lab, *, unix: bool = False) -> None:
        super().__init__(lab)
        self._unix = unix
        self._port = 0

    @property
    def _socket(self) -> pathlib.Path:
        return self.path.with_suffix('.sock')

    def _create(self, size: int) -> None:
        super()._create(size)
        self.serve()

    def serve(self) -> None:
        """Start the server, again at the same port."""
        if self._unix:
            where = ['--socket', str(self._socket)]
        else:
            with socket.create_server(('127.0.0.1', self._port)) as free:
                self._port = free.getsockname()[1]
            where = ['--bind', '127.0.0.1', '--port', str(self._port)]
        # The guest's QEMU and a probe at a time, and both for writing.
        argv = ['qemu-nbd', '--fork', '--persistent', '--shared=0', '--discard=unmap']
        argv += ['--pid-file', str(self._pid_file), '-f', 'raw', '-x', self.name, *where]
        run([*argv, str(self.path)])
        if self._unix:
            self._socket.chmod(0o666)

    @property
    def _pid_file(self) -> pathlib.Path:
        return self.path.with_suffix('.pid')

    def kill(self) -> None:
        """End the server; its clients are cut off."""
        if self._pid_file.exists():
            served = Identity.of(int(self._pid_file.read_text()))
            if served is not None:
                end(served)
            self._pid_file.unlink()
        self._socket.unlink(missing_ok=True)

    def delete(self) -> None:
        """Stop the server and remove the file."""
        self.kill()
        super().delete()

    def connection_info(self) -> dict[str, Any]:
        """The form of blockmirror's own driver."""
        where = (
            {'socket': str(self._socket)}
            if self._unix
            else {'host': '127.0.0.1', 'port': self._port}
        )
        return self._info('nbd', {'export': self.name, 'discard': True, **where})

    def source_xml(self) -> str:
        """A network source."""
        host = (
            f"<host transport='unix' socket='{self._socket}'/>"
            if self._unix
            else f"<host name='127.0.0.1' port='{self._port}'/>"
        )
        return f"<source protocol='nbd' name='{self.name}'>{host}</source>"


class RbdVolume(Volume):
    """An RBD image.

    :param pool: one of :data:`tests.lab.ceph.POOLS`
    :param give_keyring: put the key into connection_info (``rbd_keyring_conf`` in Cinder)
        and leave the libvirt secret's uuid out
    """

    kind = 'rbd'

    def __init__(self, lab: Lab, pool: str = ceph.POOLS[0], *, give_keyring: bool = False) -> None:
        super().__init__(lab)
        self.pool = pool
        self._give_keyring = give_keyring

    @property
    def image(self) -> str:
        """``pool/image``."""
        return f'{self.pool}/{self.name}'

    def _create(self, size: int) -> None:
        run(['rbd', 'create', '--size', f'{size}B', self.image])

    def delete(self) -> None:
        """Remove the image, and the copies that were read back."""
        shutil.rmtree(self._copies, ignore_errors=True)
        if self.size:
            run(['rbd', 'rm', '--no-progress', self.image])
            self.size = 0

    def connection_info(self) -> dict[str, Any]:
        """What Cinder's RBD driver answers; strings and lists as there."""
        keyring = f'[client.{ceph.USER}]\n\tkey = {self.lab.ceph.key}\n'
        data = {
            'name': self.image,
            'hosts': [ceph.HOST],
            'ports': [str(ceph.PORT_V1)],
            'cluster_name': 'ceph',
            'auth_enabled': True,
            'auth_username': ceph.USER,
            'secret_type': 'ceph',
            'secret_uuid': self._secret_uuid,
            'discard': True,
        }
        if self._give_keyring:
            data['keyring'] = keyring
        return self._info('rbd', data)

    def source_xml(self) -> str:
        """A network source with the lab's cephx secret."""
        return (
            f"<source protocol='rbd' name='{self.image}'>"
            f"<host name='{ceph.HOST}' port='{ceph.PORT_V1}'/><auth username='{ceph.USER}'>"
            f"<secret type='ceph' uuid='{self.lab.credentials.ceph_secret_uuid}'/></auth></source>"
        )

    def allocated(self) -> int:
        """Bytes of the image's objects, from its object map."""
        told = json.loads(run(['rbd', 'du', '--format', 'json', self.image]))
        return int(told['images'][0]['used_size'])

    def read_back(self) -> pathlib.Path:
        """A fresh export of the image."""
        self._copies.mkdir(exist_ok=True)
        copy = self._copies / f'{uuid.uuid4().hex[:8]}.raw'
        run(['rbd', 'export', '--no-progress', self.image, str(copy)])
        return copy

    def write(self, base: Base, length: int) -> None:
        """Write a file and have QEMU's tools copy it into the image."""
        self._copies.mkdir(exist_ok=True)
        raw = self._copies / 'in.raw'
        with raw.open('xb') as out:
            out.truncate(self.size)
            _pour(base, length, out.fileno())
        argv = ['qemu-img', 'convert', '-n', '-f', 'raw', '-O', 'raw', str(raw)]
        run([*argv, f'rbd:{self.image}:id=admin'])
        raw.unlink()

    @property
    def _copies(self) -> pathlib.Path:
        return self.lab.layout.scratch / self.id

    @property
    def _secret_uuid(self) -> str | None:
        return None if self._give_keyring else self.lab.credentials.ceph_secret_uuid


#: Every kind of volume by name.
KINDS: dict[str, type[Volume]] = {
    one.kind: one
    for one in (FileVolume, BlockVolume, NfsVolume, IscsiVolume, NbdVolume, RbdVolume)
}


def _pour(base: Base, length: int, descriptor: int) -> None:
    """Write what is not zero, so that holes stay holes."""
    for start in range(0, length, _CHUNK):
        data = base.read(start, min(_CHUNK, length - start))
        if any(data):
            os.pwrite(descriptor, data, start)
