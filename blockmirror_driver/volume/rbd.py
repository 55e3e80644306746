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
"""Ceph RBD images.

``data``: ``name`` (``pool/image`` or ``pool/namespace/image``), ``hosts``, ``ports``,
``cluster_name``, ``auth_enabled``, ``auth_username``, ``secret_uuid``, ``keyring``.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from oslo_config import cfg

from blockmirror_driver import exception
from blockmirror_driver.conf import GROUP
from blockmirror_driver.model import (
    Auth,
    Disk,
    Host,
    RbdSource,
    SecretRef,
    SecretSpec,
    SecretUsage,
)
from blockmirror_driver.volume import address, attributes, keyring, placeholder
from blockmirror_driver.volume.base import Capabilities, VolumeDriver
from blockmirror_driver.volume.connection_info import ConnectionInfo
from blockmirror_driver.xml import grammar

#: Each is a separator where somebody reads the name again as text: ``:`` and ``=`` set
#: librados options in ``rbd:pool/image:key=value``, ``@`` begins a snapshot, ``\`` escapes
#: in both, ``,`` ends the name in an option string. Ceph needs none of them in a name.
_SEPARATORS = frozenset(':=@\\,')
_CLUSTER = re.compile(r'[A-Za-z0-9_][A-Za-z0-9_.-]*', re.ASCII)


class _Access(NamedTuple):
    """How a user proves itself to the cluster."""

    auth: Auth | None
    secrets: tuple[SecretSpec, ...] = ()
    notes: tuple[str, ...] = ()


class RbdVolumeDriver(VolumeDriver):
    """Opens the image with QEMU's librbd; the host maps nothing."""

    def describe(self) -> Capabilities:
        """Return what the driver can do."""
        return Capabilities(protocol='rbd', block_module='rbd')

    def disk(self, connection_info: ConnectionInfo, target_dev: str, conf: cfg.ConfigOpts) -> Disk:
        """Return the disk; see :meth:`VolumeDriver.disk`. No I/O."""
        pool, namespace, image = _name(connection_info)
        hosts, host_notes = _hosts(connection_info)
        access = _access(connection_info, conf)
        config_file, config_notes = _config_file(connection_info, conf, hosts)
        if namespace is not None:
            # An older one looks for an image named namespace/image; the probe sees it fail.
            config_notes.append('rbd: a namespace needs a libvirt that knows them')
        source = RbdSource(
            pool=pool,
            namespace=namespace,
            image=image,
            hosts=hosts,
            auth=access.auth,
            config_file=config_file,
        )
        return attributes.disk(
            connection_info,
            source,
            target_dev,
            conf,
            secrets=access.secrets,
            notes=(*host_notes, *access.notes, *config_notes),
        )


def _name(info: ConnectionInfo) -> tuple[str, str | None, str]:
    parts = info.required_text('name').split('/')
    if not 2 <= len(parts) <= 3:
        raise info.error('name', 'is not pool/image or pool/namespace/image')
    for part in parts:
        if not part or part != part.strip():
            raise info.error('name', 'has an empty part, or one with blanks at its ends')
        if _SEPARATORS & set(part):
            raise info.error(
                'name',
                'holds a character that separates options or a snapshot: one of : = @ \\ ,',
                hint='name the image itself; a snapshot is not a volume',
            )
    return parts[0], parts[1] if len(parts) == 3 else None, parts[-1]


def _hosts(info: ConnectionInfo) -> tuple[tuple[Host, ...], list[str]]:
    """Pair monitors with ports; a monitor without one is left to librados's defaults."""
    names = [
        address.host(text, info.path(f'hosts[{i}]')) for i, text in enumerate(info.texts('hosts'))
    ]
    ports = [
        info.as_number(value, f'ports[{i}]', low=1, high=65535)
        for i, value in enumerate(info.items('ports'))
    ]
    notes = []
    if len(ports) > len(names):
        notes.append(f'rbd: {len(ports)} ports for {len(names)} monitors; the rest ignored')
    missing = max(0, len(names) - len(ports))
    if ports and missing:
        notes.append(f'rbd: {missing} monitors without a port; librados uses its own')
    padded = [*ports, *[None] * missing]
    return tuple(Host(n, p) for n, p in zip(names, padded, strict=False)), notes


def _access(info: ConnectionInfo, conf: cfg.ConfigOpts) -> _Access:
    if not info.flag('auth_enabled'):
        given = [k for k in ('auth_username', 'secret_uuid', 'keyring') if info.get(k)]
        note = f'rbd: auth_enabled is not set, so {", ".join(given)} ignored'
        return _Access(None, notes=(note,) if given else ())
    if info.text('secret_type') not in (None, 'ceph'):
        raise info.error('secret_type', 'is not ceph')
    user = info.text('auth_username') or conf[GROUP].rbd_user
    if not user:
        raise info.error('auth_username', 'is missing', hint='set [blockmirror] rbd_user')
    if not grammar.is_generic_name(user):
        raise info.error('auth_username', "holds characters that libvirt's schema does not allow")
    # A key that comes with the volume is the volume's; a uuid may be another cluster's.
    found = keyring.secret_of(info, user)
    if found is not None:
        value, note = found
        auth, spec = placeholder.cite(SecretUsage.CEPH, user, value, info.required_text('name'))
        return _Access(auth, (spec,), (note,) if note else ())
    return _Access(Auth(user, _secret_ref(info, conf)))


def _secret_ref(info: ConnectionInfo, conf: cfg.ConfigOpts) -> SecretRef:
    given = info.text('secret_uuid')
    text = given or conf[GROUP].rbd_secret_uuid
    if not text:
        raise exception.SecretUnavailable(
            f'{info.path("secret_uuid")}: is empty, and there is no keyring',
            hint='set [blockmirror] rbd_secret_uuid to the libvirt secret with the cephx key',
        )
    uuid = grammar.uuid_text(text)
    if uuid is None and given:
        raise info.error('secret_uuid', 'is not a uuid')
    if uuid is None:
        raise exception.SecretUnavailable('[blockmirror] rbd_secret_uuid is not a uuid')
    return SecretRef(SecretUsage.CEPH, uuid=uuid)


def _config_file(
    info: ConnectionInfo, conf: cfg.ConfigOpts, hosts: tuple[Host, ...]
) -> tuple[str | None, list[str]]:
    """Choose the ceph.conf; without monitors it decides which cluster is opened."""
    configured: str | None = conf[GROUP].rbd_config_file
    cluster = info.text('cluster_name') or 'ceph'
    if not _CLUSTER.fullmatch(cluster):
        raise info.error('cluster_name', 'is not the name of a cluster')
    if hosts or configured:
        return configured, []
    if cluster == 'ceph':
        return None, ["rbd: no monitors given; librados finds them in the host's ceph.conf"]
    # librados would read ceph.conf and open the image of the same name in that cluster.
    return f'/etc/ceph/{cluster}.conf', [f'rbd: no monitors given; taken from {cluster}.conf']
