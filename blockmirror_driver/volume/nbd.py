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
"""``nbd``: an export of an NBD server.

No Cinder driver of this name exists; qemu-nbd and nbdkit serve such exports. ``data``:
``export``, and either ``host`` with ``port`` (10809 when missing) and ``tls``, or ``socket``,
the absolute path of a socket on this host. The server has to take a second client: a
destination is asked for an answer while the guest's own QEMU has it open (qemu-nbd:
``--shared=0``).
"""

from __future__ import annotations

from oslo_config import cfg

from blockmirror_driver.model import Disk, Host, NbdSource
from blockmirror_driver.volume import address, attributes, local
from blockmirror_driver.volume.base import Capabilities, VolumeDriver
from blockmirror_driver.volume.connection_info import ConnectionInfo

#: IANA's nbd.
DEFAULT_PORT = 10809
#: The protocol's limit on a string (NBD_MAX_STRING_SIZE of the protocol's document).
_LONGEST_EXPORT = 4096


class NbdVolumeDriver(VolumeDriver):
    """Opens the export with QEMU's own client, which is built in."""

    def describe(self) -> Capabilities:
        """Return what the driver can do."""
        return Capabilities(protocol='nbd')

    def disk(self, connection_info: ConnectionInfo, target_dev: str, conf: cfg.ConfigOpts) -> Disk:
        """Return the disk; see :meth:`VolumeDriver.disk`."""
        info = connection_info
        export = info.required_text('export')
        if len(export.encode()) > _LONGEST_EXPORT:
            raise info.error('export', f'is longer than {_LONGEST_EXPORT} bytes')
        name, tls = info.text('host'), bool(info.flag('tls'))
        if (name is None) == (info.text('socket') is None):
            raise info.error('host', 'or socket is needed, and not both')
        if name is None:
            if tls:
                raise info.error('tls', 'goes with a host, not with a socket')
            source = NbdSource(export, socket=local.path_of(info, 'socket'))
        else:
            port = info.number('port', high=65535) or DEFAULT_PORT
            host = Host(address.host(name, info.path('host')), port)
            source = NbdSource(export, host=host, tls=tls)
        return attributes.disk(info, source, target_dev, conf)
