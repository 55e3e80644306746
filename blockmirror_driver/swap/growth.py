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
"""Growing a disk to the whole of a volume that it was moved to with ``--allow-larger``."""

from __future__ import annotations

from oslo_log import log as logging

from blockmirror_driver import exception
from blockmirror_driver.model import Bytes
from blockmirror_driver.swap import history
from blockmirror_driver.swap.journal import Journal
from blockmirror_driver.virt import unslice
from blockmirror_driver.virt.connection import Hypervisor
from blockmirror_driver.virt.domain import Domain
from blockmirror_driver.xml import domain as xml_domain
from blockmirror_driver.xml.disk import same_volume
from blockmirror_driver.xml.domain import DomainDisk

LOG = logging.getLogger(__name__)


def grow(hypervisor: Hypervisor, journal: Journal, name: str, dev: str) -> Bytes:
    """Let a running guest have all of its volume; return the bytes that it sees then.

    The stored XML comes first: a guest that is cold started in between sees the larger disk,
    never a smaller one than it has written to. Done again after a failure it goes on from
    there. One thread calls it.

    :raise Refused: the disk is no part of a volume, is encrypted, or is at work; nothing was
        changed.
    :raise HypervisorUnavailable: it may be half done; do it again.
    """
    domain = hypervisor.domain(name)
    disk = domain.live_disk(dev)
    _check(domain, disk, journal)
    size = unslice.storage_size(domain, disk)
    seen = domain.capacity(dev)
    if size <= seen:
        raise exception.WrongState(f'{dev} has {seen} bytes, as its volume has')
    stored = domain.stored_disk(dev)
    if stored is not None:
        if not same_volume(stored.disk.source, disk.disk.source):
            raise exception.WrongState(
                'the stored XML names another volume', hint='blockmirror audit tells more'
            )
        domain.rewrite_stored(lambda text: xml_domain.without_slices(text, dev))
    unslice.unslice(domain, disk)
    domain.resize(dev, size)
    now = domain.capacity(dev)
    LOG.info('Domain %s: %s grew from %d to %d bytes', domain.name, dev, seen, now)
    return now


def _check(domain: Domain, disk: DomainDisk, journal: Journal) -> None:
    dev = disk.disk.target_dev
    if disk.disk.slice_size is None:
        raise exception.WrongState(
            f'{dev} is not a part of its volume', hint='grow the volume itself, as ever'
        )
    if disk.disk.encryption is not None or disk.format != 'raw':
        raise exception.UnsupportedVolume(f'{dev} is not raw and plain: it can not be grown yet')
    if disk.mirror is not None or domain.job(dev) is not None:
        raise exception.DiskBusy(f'a block job is on {dev}')
    busy = history.open_swap(journal.records(active_only=True), domain.uuid, dev)
    if busy is not None:
        raise busy
