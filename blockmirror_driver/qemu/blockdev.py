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
"""A disk as QEMU's own tools open it: ``BlockdevOptions`` of QEMU's QAPI.

The options are a dict, written as JSON, so that nothing in a name can become another option:
the tools' other forms (``rbd:pool/image:key=value``, ``driver=…,file.driver=…``) are text that
is taken apart again. A format is always named, a backing file never followed, and a secret is
cited by the id of an object that :mod:`blockmirror_driver.qemu.secrets` gives its value.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from blockmirror_driver import exception
from blockmirror_driver.model import (
    BlockSource,
    Disk,
    FileSource,
    Host,
    IscsiSource,
    NbdSource,
    NfsSource,
    QemuSource,
    RbdSource,
    Secret,
    SecretRef,
    Source,
)

#: What monitors listen on for messenger v1 (ceph.com, "ms_bind"); QEMU wants a port for each.
_CEPH_PORT = 6789
#: IANA's nbd; QEMU wants one.
_NBD_PORT = 10809


@dataclass(frozen=True, slots=True)
class Blockdev:
    """One image.

    ``options`` hold no secret; ``secrets`` are the values of the ids that they cite.
    """

    format: str
    options: Mapping[str, Any]
    secrets: Mapping[str, Secret] = field(default_factory=dict, repr=False)
    name: str = ''

    @property
    def filename(self) -> str:
        """The image as an argument of the tools."""
        return f'json:{json.dumps(self.options, sort_keys=True)}'


def of(disk: Disk, prefix: str) -> Blockdev:
    """Return the disk as QEMU's tools open it. No I/O.

    :param prefix: begins the ids of its secrets; two images of one command differ in it.
    :raise UnsupportedVolume: the kind of source, or the format, is none that we open.
    :raise SecretUnavailable: it needs a CHAP password that did not come with it.

    An rbd disk whose key did not come with it is opened with whatever keyring librados finds
    for its user, by ``config_file``.
    """
    if disk.driver.format not in ('raw', 'qcow2'):
        raise exception.UnsupportedVolume('only raw and qcow2 images are copied')
    secret_id, key_id = secret_ids(prefix)
    protocol, secrets = _protocol(disk, secret_id)
    options: dict[str, Any] = {'driver': disk.driver.format, 'file': protocol}
    if disk.driver.format == 'qcow2':
        options['backing'] = None
    name = disk.source.describe()
    if disk.encryption is not None:
        key = _value(disk, disk.encryption.secret)
        if key is None:
            raise exception.SecretUnavailable(f'{name}: its key did not come with it')
        secrets = {**secrets, key_id: key}
        if disk.driver.format == 'raw':
            options = {'driver': 'luks', 'key-secret': key_id, 'file': protocol}
            return Blockdev('luks', options, secrets, name)
        options['encrypt'] = {'format': 'luks', 'key-secret': key_id}
    return Blockdev(disk.driver.format, options, secrets, name)


def secret_ids(prefix: str) -> tuple[str, str]:
    """Return the ids of a disk's login and of its key, as far as it has them."""
    return f'{prefix}-secret', f'{prefix}-key'


def _value(disk: Disk, ref: SecretRef | None) -> Secret | None:
    """Return the value of a secret that the disk cites, if it came with the disk."""
    for spec in disk.secrets:
        if ref is not None and (ref.uuid or ref.usage) == (spec.uuid if ref.uuid else spec.usage):
            return spec.value
    return None


def _protocol(disk: Disk, secret_id: str) -> tuple[dict[str, Any], dict[str, Secret]]:
    source = disk.source
    auth = getattr(source, 'auth', None)
    value = None if auth is None else _value(disk, auth.secret)
    secrets = {} if value is None else {secret_id: value}
    match source:
        case RbdSource():
            return _rbd(source, secret_id if secrets else None), secrets
        case IscsiSource():
            if source.auth is not None and not secrets:
                raise exception.SecretUnavailable(
                    f'{source.describe()}: its CHAP password did not come with it'
                )
            return _iscsi(source, secret_id if secrets else None), secrets
        case NfsSource():
            return _nfs(source), {}
        case _:
            return _without_login(source), {}


def _without_login(source: Source) -> dict[str, Any]:
    match source:
        case NbdSource():
            return _nbd(source)
        case QemuSource():
            return dict(json.loads(source.options))
        case FileSource():
            return {'driver': 'file', 'filename': source.path}
        case BlockSource():
            return {'driver': 'host_device', 'filename': source.path}
        case _:
            raise exception.UnsupportedVolume(f'{source.describe()} is not copied')


def _rbd(source: RbdSource, secret_id: str | None) -> dict[str, Any]:
    options: dict[str, Any] = {'driver': 'rbd', 'pool': source.pool, 'image': source.image}
    if source.namespace:
        options['namespace'] = source.namespace
    if source.config_file:
        options['conf'] = source.config_file
    if source.hosts:
        options['server'] = [
            {'host': _address(host), 'port': str(host.port or _CEPH_PORT)} for host in source.hosts
        ]
    if source.auth:
        options['user'] = source.auth.username
        if secret_id:
            options['key-secret'] = secret_id
    else:
        options['auth-client-required'] = ['none']
    return options


def _iscsi(source: IscsiSource, secret_id: str | None) -> dict[str, Any]:
    options: dict[str, Any] = {
        'driver': 'iscsi',
        'transport': 'tcp',
        'portal': str(source.portal),
        'target': source.target,
        'lun': source.lun,
    }
    if source.initiator:
        options['initiator-name'] = source.initiator
    if source.auth:
        options['user'] = source.auth.username
        options['password-secret'] = secret_id
    return options


def _nfs(source: NfsSource) -> dict[str, Any]:
    options: dict[str, Any] = {
        'driver': 'nfs',
        'server': {'type': 'inet', 'host': _address(source.host)},
        'path': source.name,
    }
    if source.identity:
        given = {'user': source.identity.user, 'group': source.identity.group}
        options.update({key: value for key, value in given.items() if value is not None})
    return options


def _nbd(source: NbdSource) -> dict[str, Any]:
    if source.tls:
        raise exception.UnsupportedVolume("TLS needs libvirt's certificates")
    options: dict[str, Any] = {'driver': 'nbd', 'export': source.export}
    if source.host is not None:
        port = str(source.host.port or _NBD_PORT)
        options['server'] = {'type': 'inet', 'host': source.host.name, 'port': port}
    else:
        options['server'] = {'type': 'unix', 'path': source.socket}
    return options


def _address(host: Host) -> str:
    """Return the host as a part of a URL or of ``mon_host``: IPv6 in brackets."""
    return str(Host(host.name))
