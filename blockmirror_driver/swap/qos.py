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
"""The limits of a disk after its volume was swapped.

Cinder's front-end QoS belongs to the type of a volume, and libvirt keeps a disk's ``<iotune>``
through a pivot: the guest would go on with the limits of the volume that it has left. So the
destination's are set once the guest is on it, and not before, live and stored.
"""

from __future__ import annotations

import dataclasses

from blockmirror_driver import exception
from blockmirror_driver.model import Disk, IoTune
from blockmirror_driver.swap.ledger import Swap
from blockmirror_driver.virt.connection import Hypervisor
from blockmirror_driver.virt.domain import Domain

_UNLIMITED = IoTune()


def changes(source: Disk, destination: Disk) -> bool:
    """Tell whether the destination asks for other limits than the disk has.

    One that says nothing of limits (``None``) leaves the disk's as they are.
    """
    wanted = destination.iotune
    return wanted is not None and wanted != (source.iotune or _UNLIMITED)


def describe(limits: IoTune | None) -> str:
    """Name the limits as libvirt does: ``total_iops_sec=500``; ``none``."""
    if limits is None:
        return 'none'
    found = dataclasses.asdict(limits).items()
    return ', '.join(f'{name}={value}' for name, value in found if value) or 'none'


def apply(hypervisor: Hypervisor, swap: Swap) -> str:
    """Give the disk the limits of the volume that it is on; again changes nothing.

    :return: what was done, empty if nothing had to be.
    :raise HypervisorUnavailable: it was not done, or nobody knows; it may be repeated.
    """
    wanted = swap.destination.iotune
    if wanted is None:
        return ''
    domain = hypervisor.domain(swap.domain_uuid)
    if not any(changes(disk, swap.destination) for disk in _disks(domain, swap.dev)):
        return ''
    domain.set_iotune(swap.dev, wanted)
    return f'limits of {swap.dev}: {describe(wanted)}'


def _disks(domain: Domain, dev: str) -> list[Disk]:
    """The live and the stored disk, as far as they are there."""
    found = []
    for read in (domain.live_disk, domain.stored_disk):
        try:
            disk = read(dev)
        except (exception.DomainNotFound, exception.DiskNotFound):
            continue
        if disk is not None:
            found.append(disk.disk)
    return found
