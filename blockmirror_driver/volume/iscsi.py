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
"""iSCSI logical units.

``data``: ``target_portal``, ``target_iqn``, ``target_lun``, or the lists
``target_portals``, ``target_iqns``, ``target_luns``, which go before them;
``auth_method``, ``auth_username``, ``auth_password``. ``discovery_auth_*`` is not for us:
nothing is discovered.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from oslo_config import cfg

from blockmirror_driver import exception
from blockmirror_driver.model import (
    Auth,
    Disk,
    Host,
    IscsiSource,
    SecretSpec,
    SecretUsage,
)
from blockmirror_driver.volume import address, attributes, initiator, placeholder, target
from blockmirror_driver.volume.base import Capabilities, VolumeDriver
from blockmirror_driver.volume.connection_info import ConnectionInfo
from blockmirror_driver.xml import grammar

#: IANA's iscsi-target.
DEFAULT_PORT = 3260
#: Flat addressing has 14 bits; libiscsi would send the rest as another unit's number.
MAX_LUN = (1 << 14) - 1
#: Longest CHAP name and secret that libiscsi keeps (MAX_CHAP_*, MAX_STRING_SIZE).
_MAX_CHAP = 255


class _Path(NamedTuple):
    """One way to the unit."""

    portal: Host
    target: str
    lun: int


class IscsiVolumeDriver(VolumeDriver):
    """Opens the unit with QEMU's libiscsi; the host logs in to nothing."""

    def describe(self) -> Capabilities:
        """Return what the driver can do."""
        return Capabilities(protocol='iscsi', block_module='iscsi')

    def disk(self, connection_info: ConnectionInfo, target_dev: str, conf: cfg.ConfigOpts) -> Disk:
        """Return the disk; see :meth:`VolumeDriver.disk`.

        Reads the host's initiator name and asks no portal: of several the first is taken,
        and ``IscsiSource.alternates`` holds the others for :mod:`..portals`.
        """
        path, *others = _paths(connection_info)
        auth, secrets, auth_notes = _auth(connection_info, path)
        name, name_note = initiator.name(conf)
        source = IscsiSource(
            target=path.target,
            lun=path.lun,
            portal=path.portal,
            auth=auth,
            initiator=name,
            alternates=tuple((p.portal, p.target, p.lun) for p in others),
        )
        return attributes.disk(
            connection_info,
            source,
            target_dev,
            conf,
            secrets=secrets,
            notes=(*auth_notes, *([name_note] if name_note else [])),
        )


def _paths(info: ConnectionInfo) -> list[_Path]:
    """Return the paths in the order of the lists, each once.

    Lists go before the single fields, as in os-brick; a list that is missing is filled
    from its single field, one for all.
    """
    portals = info.texts('target_portals')
    if not portals:
        if info.items('target_iqns') and not info.get('target_portal'):
            raise info.error('target_portals', 'is missing')
        return [_single(info)]
    count = len(portals)
    iqns: list[Any] = info.texts('target_iqns') or [info.required_text('target_iqn')] * count
    luns = info.items('target_luns') or [info.get('target_lun')] * count
    lists = {'target_iqns': iqns, 'target_luns': luns}
    for key, values in lists.items():
        if len(values) != count:
            raise info.error(key, f'has {len(values)} entries for {count} portals')
    paths = [
        _path(info, portal, iqn, lun, f'[{i}]')
        for i, (portal, iqn, lun) in enumerate(zip(portals, iqns, luns, strict=True))
    ]
    return list(dict.fromkeys(paths))


def _single(info: ConnectionInfo) -> _Path:
    portal, iqn = info.required_text('target_portal'), info.required_text('target_iqn')
    return _path(info, portal, iqn, info.get('target_lun'), '')


def _path(info: ConnectionInfo, portal: str, iqn: str, lun: object, index: str) -> _Path:
    plural = f's{index}' if index else ''
    if not target.is_name(iqn):
        raise info.error(f'target_iqn{plural}', 'is not the name of an iscsi target')
    return _Path(
        address.portal(portal, DEFAULT_PORT, info.path(f'target_portal{plural}')),
        iqn,
        info.as_number(lun, f'target_lun{plural}', high=MAX_LUN) or 0,
    )


def _auth(
    info: ConnectionInfo, path: _Path
) -> tuple[Auth | None, tuple[SecretSpec, ...], list[str]]:
    """Return what CHAP needs; a session without auth_method has none, as in os-brick."""
    method = (info.text('auth_method') or 'none').strip().lower()
    if method == 'none':
        given = info.get('auth_username') is not None
        return None, (), ['iscsi: no auth_method, so auth_username ignored'] if given else []
    if method != 'chap':
        raise exception.UnsupportedVolume(
            f'{info.path("auth_method")}: only CHAP is supported',
            hint='let the Cinder driver use CHAP or no authentication',
        )
    user, password = info.required_text('auth_username'), info.secret('auth_password')
    if not grammar.is_generic_name(user) or len(user) > _MAX_CHAP:
        raise info.error('auth_username', "is not a name that libvirt's schema allows")
    if password is None:
        raise info.error('auth_password', 'is missing')
    value = password.encode()
    if len(value) > _MAX_CHAP:
        raise info.error('auth_password', f'is longer than {_MAX_CHAP} bytes')
    volume = f'{path.target}/{path.lun}'
    auth, spec = placeholder.cite(SecretUsage.ISCSI, user, value, volume)
    return auth, (spec,), []
