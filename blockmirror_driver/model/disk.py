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
"""A guest disk and its parts, as frozen values.

:class:`Disk` is what a volume driver makes of a connection_info and what ``xml/`` turns
into libvirt's ``<disk>`` and back. Field names follow libvirt's domain XML
(https://libvirt.org/formatdomain.html#hard-drives-floppy-disks-cdroms).
"""

from __future__ import annotations

import enum
import json
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from blockmirror_driver.model.quantity import Bytes
from blockmirror_driver.model.secret import Secret

Format: TypeAlias = Literal['raw', 'qcow2']
DetectZeroes: TypeAlias = Literal['off', 'on', 'unmap']


@dataclass(frozen=True, slots=True)
class Host:
    """Where a storage server listens; an IPv6 address stands without brackets."""

    name: str
    port: int | None = None

    def __str__(self) -> str:
        name = f'[{self.name}]' if ':' in self.name else self.name
        return name if self.port is None else f'{name}:{self.port}'


class SecretUsage(enum.Enum):
    """The ``type`` of a libvirt secret's usage."""

    CEPH = 'ceph'
    ISCSI = 'iscsi'
    VOLUME = 'volume'
    """The passphrase of an encrypted volume."""


@dataclass(frozen=True, slots=True)
class SecretRef:
    """How a ``<disk>`` cites a libvirt secret: by ``uuid`` or by ``usage``, never both."""

    type: SecretUsage
    uuid: str | None = None
    usage: str | None = None


@dataclass(frozen=True, slots=True)
class SecretSpec:
    """A libvirt secret that the disk needs and that the connection_info carries.

    ``usage`` is a placeholder which the volume driver chose and which the disk's
    :class:`SecretRef` cites; the secret store gives it our prefix, a life and a uuid,
    and hands back a disk that cites it (see :meth:`Disk.with_secret`). ``uuid`` is that.
    """

    type: SecretUsage
    usage: str
    value: Secret = field(repr=False)
    uuid: str | None = None


@dataclass(frozen=True, slots=True)
class Auth:
    """``<auth>`` of a network source."""

    username: str
    secret: SecretRef


@dataclass(frozen=True, slots=True)
class Encryption:
    """``<encryption>``: the data is encrypted in the volume, and QEMU does it.

    What we build is ``luks``, of either version: QEMU reads it from the header. Of what we
    parse ``secret`` may be missing.
    """

    secret: SecretRef | None
    format: str = 'luks'


@dataclass(frozen=True, slots=True)
class RbdSource:
    """An RBD image; ``config_file`` is the ceph.conf that librados reads for it."""

    pool: str
    image: str
    hosts: tuple[Host, ...] = ()
    auth: Auth | None = None
    config_file: str | None = None
    namespace: str | None = None

    @property
    def name(self) -> str:
        """The name as libvirt writes it: pool, optional namespace, image."""
        return '/'.join(p for p in (self.pool, self.namespace, self.image) if p)

    def describe(self) -> str:
        """Name the volume without addresses, for what a user sees."""
        return f'rbd:{self.name}'


@dataclass(frozen=True, slots=True)
class IscsiSource:
    """A logical unit; ``initiator`` is the iqn that we log in as.

    ``alternates`` are further portals of the same unit, which libvirt can't express: it
    takes one. They never reach the XML and do not count in comparisons.
    """

    target: str
    lun: int
    portal: Host
    auth: Auth | None = None
    initiator: str | None = None
    alternates: tuple[tuple[Host, str, int], ...] = field(default=(), compare=False)

    @property
    def name(self) -> str:
        """The name as libvirt writes it."""
        return f'{self.target}/{self.lun}'

    def describe(self) -> str:
        """Name the volume without addresses, for what a user sees."""
        return f'iscsi:{self.name}'


@dataclass(frozen=True, slots=True)
class Identity:
    """The uid and gid that an NFS client presents; ``None`` is QEMU's own."""

    user: int | None = None
    group: int | None = None


@dataclass(frozen=True, slots=True)
class NfsSource:
    """A file of an NFS export; ``export`` is absolute, ``file`` is relative to it."""

    host: Host
    export: str
    file: str
    identity: Identity | None = None

    @property
    def name(self) -> str:
        """The name as libvirt writes it: one absolute path."""
        return f'{self.export.rstrip("/")}/{self.file}'

    def describe(self) -> str:
        """Name the volume without addresses, for what a user sees."""
        return f'nfs:{self.file}'


@dataclass(frozen=True, slots=True)
class NbdSource:
    """An export of an NBD server, reached over TCP or by a socket of the host.

    Exactly one of ``host`` and ``socket`` is set. ``tls`` has QEMU use the certificates that
    libvirt's qemu.conf names; it goes with TCP.
    """

    export: str
    host: Host | None = None
    socket: str | None = None
    tls: bool = False

    @property
    def name(self) -> str:
        """The name as libvirt writes it: the export."""
        return self.export

    def describe(self) -> str:
        """Name the volume without addresses, for what a user sees."""
        return f'nbd:{self.export}'


@dataclass(frozen=True, slots=True)
class FileSource:
    """A local file, for example on a mounted share."""

    path: str

    def describe(self) -> str:
        """Name the volume without its directory, for what a user sees."""
        return f'file:{self.path.rsplit("/", 1)[-1]}'


@dataclass(frozen=True, slots=True)
class BlockSource:
    """A block device of the host."""

    path: str

    def describe(self) -> str:
        """Name the volume without its directory, for what a user sees."""
        return f'block:{self.path.rsplit("/", 1)[-1]}'


@dataclass(frozen=True, slots=True)
class QemuSource:
    """What QEMU opens and libvirt has no name for.

    ``options`` are ``BlockdevOptions`` of QEMU's QAPI, as JSON with sorted keys, of a storage
    (no format), and without any secret. It never reaches libvirt.
    """

    options: str

    @property
    def driver(self) -> str:
        """QEMU's block driver."""
        return str(json.loads(self.options).get('driver', '?'))

    def describe(self) -> str:
        """Name the driver."""
        return f'qemu:{self.driver}'


@dataclass(frozen=True, slots=True)
class OtherSource:
    """A source that we can swap away from and compare, but not build.

    ``fingerprint`` is the canonical ``<source>`` element without volatile parts (index,
    seclabel, reservations); two equal fingerprints are the same volume.
    """

    kind: str
    fingerprint: str = field(repr=False)

    def describe(self) -> str:
        """Name its kind."""
        return f'{self.kind}:?'


NetworkSource: TypeAlias = RbdSource | IscsiSource | NfsSource | NbdSource
Source: TypeAlias = NetworkSource | FileSource | BlockSource | QemuSource | OtherSource


@dataclass(frozen=True, slots=True)
class Backing:
    """``<backingStore>``: the image that another is a layer upon, and what is below that."""

    source: Source
    format: str = 'raw'
    below: Backing | None = None


@dataclass(frozen=True, slots=True)
class Driver:
    """``<driver>`` of a disk; ``None`` leaves the hypervisor's default."""

    #: What we build is a :data:`Format`; what we parse may be any that libvirt knows.
    format: str = 'raw'
    cache: Literal['none', 'writeback', 'writethrough', 'directsync', 'unsafe'] | None = None
    io: Literal['threads', 'native', 'io_uring'] | None = None
    discard: Literal['unmap', 'ignore'] | None = None
    detect_zeroes: DetectZeroes | None = None


@dataclass(frozen=True, slots=True)
class IoTune:
    """``<iotune>``: bytes/s and operations/s; 0 means unlimited.

    The names are both libvirt's elements and Cinder's front-end QoS keys.
    """

    total_bytes_sec: int = 0
    read_bytes_sec: int = 0
    write_bytes_sec: int = 0
    total_iops_sec: int = 0
    read_iops_sec: int = 0
    write_iops_sec: int = 0
    total_bytes_sec_max: int = 0
    read_bytes_sec_max: int = 0
    write_bytes_sec_max: int = 0
    total_iops_sec_max: int = 0
    read_iops_sec_max: int = 0
    write_iops_sec_max: int = 0
    size_iops_sec: int = 0


@dataclass(frozen=True, slots=True)
class Disk:
    """One disk of a guest.

    ``secrets`` are the secrets that must exist in libvirt before the disk can be opened;
    they are not part of the XML, nor of comparisons. ``volume_id`` is Cinder's, if known.
    ``notes`` are one-line remarks for the operator (an option ignored, a portal chosen).
    ``device`` is what the guest sees; volumes are always ``disk``. ``slice_size`` is how much
    of the volume is used, from its beginning, with the header of an encrypted one; ``None`` is
    all of it. ``backing`` is what is below a qcow2 image.
    """

    source: Source
    target_dev: str = 'vda'
    bus: str | None = 'virtio'
    driver: Driver = Driver()
    serial: str | None = None
    readonly: bool = False
    shareable: bool = False
    logical_block_size: Bytes | None = None
    physical_block_size: Bytes | None = None
    iotune: IoTune | None = None
    encryption: Encryption | None = None
    slice_size: Bytes | None = None
    backing: Backing | None = None
    secrets: tuple[SecretSpec, ...] = field(default=(), compare=False, repr=False)
    volume_id: str | None = field(default=None, compare=False)
    notes: tuple[str, ...] = field(default=(), compare=False)
    device: Literal['disk', 'lun', 'cdrom', 'floppy'] = 'disk'

    def to_xml(self) -> str:
        """Return libvirt's ``<disk>`` element; secrets appear only as references.

        :raise InvalidDisk: when a value can't be written as XML, or the source is one
            that we can only compare.
        """
        # model is below xml; the import is late so that the value can offer the verb.
        from blockmirror_driver.xml import disk as xml_disk

        return xml_disk.build(self)

    @property
    def cited(self) -> tuple[SecretRef, ...]:
        """The secrets that the XML cites, ours or not."""
        encryption = self.encryption
        cited = [*_login(self.source)]
        if encryption is not None and encryption.secret is not None:
            cited.append(encryption.secret)
        for layer in self.layers:
            cited += _login(layer.source)
        return tuple(cited)

    @property
    def layers(self) -> tuple[Backing, ...]:
        """What is below the image, from the layer below the top down to the last."""
        found, layer = [], self.backing
        while layer is not None:
            found.append(layer)
            layer = layer.below
        return tuple(found)

    def with_source(self, source: Source) -> Disk:
        """Return the disk with another source."""
        return replace(self, source=source)

    def with_secret(self, spec: SecretSpec, ref: SecretRef) -> Disk:
        """Return the disk citing ``ref`` wherever it cited ``spec``'s placeholder."""
        disk = self._citing(spec, ref)
        if disk is self:
            return self
        defined = tuple(replace(s, uuid=ref.uuid) if s == spec else s for s in self.secrets)
        return replace(disk, secrets=defined)

    def _citing(self, spec: SecretSpec, ref: SecretRef) -> Disk:
        encryption, auth = self.encryption, getattr(self.source, 'auth', None)
        if encryption and encryption.secret and encryption.secret.usage == spec.usage:
            return replace(self, encryption=replace(encryption, secret=ref))
        if auth is None or auth.secret.usage != spec.usage:
            return self
        assert isinstance(self.source, RbdSource | IscsiSource)
        return replace(self, source=replace(self.source, auth=replace(auth, secret=ref)))


def _login(source: Source) -> tuple[SecretRef, ...]:
    auth = getattr(source, 'auth', None)
    return () if auth is None else (auth.secret,)
