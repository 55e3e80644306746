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
"""Letting a disk have the rest of its volume, of which it used the first part only.

libvirt has no call that takes a ``<slice>`` off a running disk, and its ``blockResize`` fails on
one. QEMU's ``blockdev-reopen`` can do it: the node that the guest's device is on is opened anew
over the same storage, without a size. Its name stays, so that all that libvirt does later fits.
"""

from __future__ import annotations

from typing import Any

from blockmirror_driver import exception
from blockmirror_driver.model import Bytes
from blockmirror_driver.virt.domain import Domain
from blockmirror_driver.virt.monitor import Monitor
from blockmirror_driver.xml.domain import DomainDisk

#: What libvirt calls the node with the size (the second from 10 on, which has no other for raw
#: images), and the storage below it (qemuBlockStorageSource…Nodename in its source).
_SIZED, _STORAGE = ('-format', '-slice-sto'), '-storage'


def storage_size(domain: Domain, disk: DomainDisk) -> Bytes:
    """Return the bytes of the whole volume, as the guest's QEMU has it open.

    :raise WrongState: libvirt's nodes are not those that we know.
    """
    nodes = _nodes(Monitor(domain))
    return Bytes(nodes[_names(domain, disk)[1]]['image']['virtual-size'])


def unslice(domain: Domain, disk: DomainDisk) -> None:
    """Open the disk's node anew, over all of its volume; the guest notices nothing.

    Doing it again changes nothing. libvirt taints the domain and goes on to show ``<slices>``
    in its live XML.

    :raise WrongState: libvirt's nodes are not those that we know; nothing was changed.
    :raise Refused: QEMU would not, and nothing was changed.
    """
    monitor = Monitor(domain)
    node, storage = _names(domain, disk)
    found = _nodes(monitor)[node]
    options: dict[str, Any] = {
        'driver': 'raw',
        'node-name': node,
        'file': storage,
        'read-only': bool(found['ro']),
        'cache': {name: found['cache'][name] for name in ('direct', 'no-flush')},
        'detect-zeroes': found['detect_zeroes'],
    }
    # QEMU does not tell it; libvirt sets it as the disk has it.
    if disk.disk.driver.discard:
        options['discard'] = disk.disk.driver.discard
    monitor.execute('blockdev-reopen', {'options': [options]})


def _nodes(monitor: Monitor) -> dict[str, dict[str, Any]]:
    return {one['node-name']: one for one in monitor.execute('query-named-block-nodes')}


def _names(domain: Domain, disk: DomainDisk) -> tuple[str, str]:
    monitor = Monitor(domain)
    node = monitor.node_of(disk.alias)
    for suffix in _SIZED:
        storage = node.removesuffix(suffix) + _STORAGE
        if node.endswith(suffix) and storage in _nodes(monitor):
            return node, storage
    raise exception.WrongState(f"QEMU's nodes of {disk.disk.target_dev} are not as libvirt's are")
