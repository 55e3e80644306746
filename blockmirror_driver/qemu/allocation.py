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
"""What a storage knows to be zeroes, asked for with ``qemu-img map``."""

from __future__ import annotations

import json

from oslo_log import log

from blockmirror_driver import exception
from blockmirror_driver.model import Bytes, Seconds
from blockmirror_driver.qemu import tool
from blockmirror_driver.qemu.blockdev import Blockdev

LOG = log.getLogger(__name__)

_MAP = ('qemu-img', 'map', '--output=json', '-f', 'raw')


def occupied(path: str, name: str, size: Bytes, timeout: Seconds) -> list[tuple[int, int]]:
    """Return where, of the first ``size`` bytes of an export, there may be something else.

    All of them, where the storage doesn't tell or takes more than ``timeout`` seconds for it.

    :param path: of the socket of an NBD server.
    :param name: of the export.
    """
    server = {'type': 'unix', 'path': path}
    file = {'driver': 'nbd', 'server': server, 'export': name}
    image = Blockdev('raw', {'driver': 'raw', 'file': file}, name=f'export {name}')
    try:
        ended = tool.run(_MAP, [image], tool.Limits(timeout))
        if ended.code:
            raise exception.DestinationUnusable(ended.reason)
        told = [
            (int(part['start']), int(part['start']) + int(part['length']))
            for part in json.loads(ended.output)
            if not part['zero']
        ]
    except (exception.BlockmirrorError, ValueError, KeyError, TypeError) as error:
        LOG.warning('NBD %s: all of it counts as written: %s', image.name, error)
        return [(0, size)]
    return [(start, min(end, size)) for start, end in told if start < size]
