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
"""Disks that a guest has, opened once more for reading, in a throwaway domain.

QEMU keeps the destination of a copy from everybody else in its own process, so that the same
volumes are opened by another one, with the same secrets, and exported by NBD. The socket is
ours, in a directory that nobody else may enter; QEMU gets its descriptor.

Not for local files and devices: libvirt would give them another owner when the domain ends.
"""

from __future__ import annotations

import contextlib
import socket
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace

from blockmirror_driver.model import Disk, Seconds
from blockmirror_driver.virt.connection import Hypervisor
from blockmirror_driver.virt.domain import Domain
from blockmirror_driver.virt.monitor import Monitor
from blockmirror_driver.virt.throwaway import Throwaway
from blockmirror_driver.xml import domain as xml_domain

_LISTENER = 'blockmirror'


@contextlib.contextmanager
def exported(
    hypervisor: Hypervisor, disks: Sequence[Disk], like: Domain, timeout: Seconds
) -> Iterator[str]:
    """Yield the path of a socket at which the disks are the exports ``0``, ``1`` and so on.

    They see what has reached the storage: what a guest's QEMU keeps in a cache they don't.

    :param like: the guest, whose emulator, machine and labels count.
    :param timeout: seconds within which all must have opened.
    :raise DestinationUnusable: DestinationSilent: SecretUnavailable: as a probe does.
    :raise Refused: QEMU would not export them.
    """
    named = [replace(disk, target_dev=f'vd{chr(ord("a") + n)}') for n, disk in enumerate(disks)]
    throwaway = Throwaway(hypervisor.places, named, like.xml(), read_only=True)
    with tempfile.TemporaryDirectory(prefix='blockmirror-') as directory:
        path = f'{directory}/nbd'
        try:
            throwaway.open(timeout)
            domain = hypervisor.domain(throwaway.uuid)
            _serve(domain, [disk.target_dev for disk in named], path)
            yield path
        finally:
            throwaway.close()


def _serve(domain: Domain, devs: Sequence[str], path: str) -> None:
    monitor, text = Monitor(domain), domain.xml()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        listener.listen(len(devs))
        monitor.execute('getfd', {'fdname': _LISTENER}, files=(listener.fileno(),))
    address = {'type': 'fd', 'data': {'str': _LISTENER}}
    monitor.execute('nbd-server-start', {'addr': address})
    for number, dev in enumerate(devs):
        node = monitor.node_of(xml_domain.find(text, dev).alias)
        monitor.execute(
            'block-export-add',
            {'type': 'nbd', 'id': f'export-{number}', 'node-name': node, 'name': str(number)},
        )
