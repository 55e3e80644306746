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
"""Whether two sources are the same volume.

How a volume is reached (secrets, identity, initiator, config file) is no part of the
answer; where it is stored is.
"""

from __future__ import annotations

import ipaddress
import posixpath
from collections.abc import Iterable

from blockmirror_driver import model

#: The ports of a Ceph monitor: the v2 protocol's, the v1 protocol's.
_MONITOR_PORTS = frozenset({3300, 6789})
#: IANA's port of iscsi-target, which libvirt fills in.
_ISCSI_PORT = 3260
#: IANA's port of nbd, likewise.
_NBD_PORT = 10809


def same_volume(a: model.Source, b: model.Source) -> bool:
    """Tell whether both sources are stored in the same place.

    - rbd: same pool, namespace and image, and at least one monitor in common; the order of
      the monitors does not count, and a side without any (ceph.conf names them) matches.
    - iscsi: same target, LUN and portal. Another portal of the same unit is *not* taken for
      the same: names of targets are not unique across arrays.
    - nfs: same host and path. file, block: same path.
    - nbd: same export of the same host and port, or of the same socket.
    - other kinds: equal ``<source>`` elements without volatile parts.
    """
    match a, b:
        case model.RbdSource(), model.RbdSource():
            return a.name == b.name and _monitors_meet(a.hosts, b.hosts)
        case model.IscsiSource(), model.IscsiSource():
            return (a.target, a.lun) == (b.target, b.lun) and _portal(a) == _portal(b)
        case model.NfsSource(), model.NfsSource():
            return _host(a.host) == _host(b.host) and _path(a.name) == _path(b.name)
        case model.NbdSource(), model.NbdSource():
            return a.export == b.export and _server(a) == _server(b)
        case (model.FileSource(path=one), model.FileSource(path=other)) | (
            model.BlockSource(path=one),
            model.BlockSource(path=other),
        ):
            return _path(one) == _path(other)
        case _:
            return a == b


def _host(host: model.Host) -> str:
    try:
        return str(ipaddress.ip_address(host.name))
    except ValueError:
        return host.name.lower().rstrip('.')


def _path(path: str) -> str:
    # normpath keeps two leading slashes, which POSIX leaves to the system.
    return '/' + posixpath.normpath(path).lstrip('/')


def _portal(source: model.IscsiSource) -> tuple[str, int]:
    return _host(source.portal), source.portal.port or _ISCSI_PORT


def _server(source: model.NbdSource) -> tuple[str, int]:
    if source.host is None:
        return _path(source.socket or ''), 0
    return _host(source.host), source.host.port or _NBD_PORT


def _monitors(hosts: Iterable[model.Host]) -> set[tuple[str, int]]:
    # One monitor listens on both of its ports; any other port is another monitor.
    return {(_host(h), 0 if h.port is None or h.port in _MONITOR_PORTS else h.port) for h in hosts}


def _monitors_meet(a: tuple[model.Host, ...], b: tuple[model.Host, ...]) -> bool:
    return not a or not b or bool(_monitors(a) & _monitors(b))
