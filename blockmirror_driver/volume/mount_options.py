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
"""Options of ``mount -t nfs``, for a client that is no kernel.

QEMU's libnfs takes none of them. One that only tunes the kernel's client is left out with
a note. One is refused when leaving it out would weaken the volume's protection, or lead to
another server. What makes the open fail instead (a server without NFSv3) is left to the
probe of the destination, which sees it before the guest does.
"""

from __future__ import annotations

from dataclasses import dataclass

from blockmirror_driver import exception
from blockmirror_driver.volume.connection_info import ConnectionInfo

#: RFC 5531's AUTH_SYS is all that libnfs speaks in NFSv3.
_SECURITY = frozenset({'sys', 'none', ''})
_PORTS = {'port': frozenset({'2049', '0', ''}), 'mountport': frozenset({'0', ''})}
_VERSIONS = frozenset({'nfsvers', 'vers', 'minorversion', 'v3', 'v4'})
_TRANSPORTS = frozenset({'proto', 'udp', 'rdma', 'mountproto'})


@dataclass(frozen=True, slots=True)
class MountOptions:
    """What is left of the options for us."""

    readonly: bool = False
    notes: tuple[str, ...] = ()


def read(info: ConnectionInfo) -> MountOptions:
    """Read ``options``: ``-o a,b=c``, or without the ``-o``.

    :raise UnsupportedVolume: for Kerberos or TLS, and for ports that can't be given to
        QEMU's client.
    """
    words = (info.text('options') or '').split()
    tokens = [t for w in words if w != '-o' for t in w.removeprefix('-o').split(',') if t]
    readonly = False
    notes = []
    ignored = []
    for token in tokens:
        key, _, value = token.partition('=')
        _refuse(info, key, value)
        if key in ('ro', 'rw'):
            readonly = key == 'ro'
        elif key in _VERSIONS and not _is_version_3(key, value):
            notes.append(f'nfs: {token} ignored: QEMU speaks NFSv3, which the server must offer')
        elif key in _TRANSPORTS and value not in ('tcp', 'tcp6'):
            notes.append(f'nfs: {token} ignored: QEMU uses TCP, which the server must offer')
        elif key not in _VERSIONS | _TRANSPORTS:
            ignored.append(token)
    if ignored:
        notes.append(f"nfs: {','.join(ignored)} ignored: of the kernel's client only")
    return MountOptions(readonly, tuple(notes))


def _is_version_3(key: str, value: str) -> bool:
    return key == 'v3' or (key in ('nfsvers', 'vers') and value in ('3', '3.0'))


def _refuse(info: ConnectionInfo, key: str, value: str) -> None:
    why = None
    if key == 'sec' and not set(value.split(':')) & _SECURITY:
        why = "QEMU's NFS client has no Kerberos"
    elif key == 'xprtsec' and value != 'none':
        why = "QEMU's NFS client has no TLS"
    elif key in _PORTS and value not in _PORTS[key]:
        why = "libvirt passes no port to QEMU's NFS client"
    if why is not None:
        raise exception.UnsupportedVolume(
            f'{info.path("options")}: {key} can not be kept: {why}',
            hint='export the share without it, or keep the volume on the host-mounted path',
        )
