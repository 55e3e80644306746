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
"""Reading the world: what the domain, its XML and the job say right now."""

from __future__ import annotations

from blockmirror_driver import exception
from blockmirror_driver.model import Disk, Source
from blockmirror_driver.swap.owner import boot_id
from blockmirror_driver.swap.reconcile import Evidence, Guest, Job, Side
from blockmirror_driver.virt.connection import Hypervisor
from blockmirror_driver.virt.domain import Domain
from blockmirror_driver.xml import domain as xml_domain
from blockmirror_driver.xml.disk import same_volume
from blockmirror_driver.xml.domain import DomainDisk

_JOBS = {
    'no': Job.COPYING,
    'yes': Job.READY,
    'pivot': Job.PIVOTING,
    'abort': Job.ABORTING,
}


def read(
    hypervisor: Hypervisor,
    domain_uuid: str,
    dev: str,
    source: Disk,
    destination: Disk,
    *,
    pivot_requested: bool,
    guest_run: str = '',
    domain: Domain | None = None,
) -> Evidence:
    """Read the evidence of one swap. Changes nothing.

    :param guest_run: the run of the guest that the swap began in. A guest that was started
        since then counts as gone, and what it runs on as what its stored XML named: it says
        nothing of the disk before. Empty: not known, and nothing is concluded.
    :param domain: the guest, where it was looked up before; it may be gone by now.

    :raise HypervisorUnavailable: when libvirt does not answer; nothing can be decided then.
    """
    try:
        domain = domain or hypervisor.domain(domain_uuid)
    except exception.DomainNotFound:
        return Evidence(Guest.GONE, Job.NONE, Side.ABSENT, Side.ABSENT, pivot_requested)
    try:
        kept, live = domain.disks(dev)
        live, job = _job_on(domain, dev, live, destination)
    except (exception.DiskNotFound, exception.DomainNotFound) as error:
        # It may have stopped just now; its stored XML may have changed until then.
        stored = _stored_side(domain, dev, source, destination)
        lacks_disk = isinstance(error, exception.DiskNotFound)
        guest = Guest.RUNNING if lacks_disk else Guest.GONE
        return Evidence(guest, Job.NONE, Side.ABSENT, stored, pivot_requested)
    side = side_of(live.disk.source, source, destination)
    if guest_run and _name(live.run) != guest_run:
        return Evidence(Guest.GONE, Job.NONE, Side.ABSENT, side, pivot_requested)
    return Evidence(
        Guest.RUNNING, job, side, _side_if_any(kept, source, destination), pivot_requested
    )


def run_of(live_xml: str) -> str:
    """Name the run of a guest: no other start of it, on any boot, has the same name."""
    return _name(xml_domain.run_id(live_xml))


def _name(run: str | None) -> str:
    return f'{boot_id()}/{run}' if run is not None else ''


def _job_on(
    domain: Domain, dev: str, live: DomainDisk, destination: Disk
) -> tuple[DomainDisk, Job]:
    job = _job(domain, dev, live, destination)
    if job is Job.FOREIGN and live.mirror is None:
        # A job without its <mirror>: it began or ended between the two calls, if it is ours.
        live = domain.live_disk(dev)
        job = _job(domain, dev, live, destination)
    return live, job


def side_of(found: Source, source: Disk, destination: Disk) -> Side:
    """Tell which of the two volumes a source is."""
    if same_volume(found, source.source):
        return Side.SOURCE
    return Side.DESTINATION if same_volume(found, destination.source) else Side.OTHER


def _stored_side(domain: Domain, dev: str, source: Disk, destination: Disk) -> Side:
    try:
        stored = domain.stored_disk(dev)
    except (exception.DiskNotFound, exception.DomainNotFound):
        return Side.ABSENT
    return _side_if_any(stored, source, destination)


def _side_if_any(stored: DomainDisk | None, source: Disk, destination: Disk) -> Side:
    return Side.ABSENT if stored is None else side_of(stored.disk.source, source, destination)


def _job(domain: Domain, dev: str, live: DomainDisk, destination: Disk) -> Job:
    mirror = live.mirror
    if mirror is None:
        return Job.NONE if domain.job(dev) is None else Job.FOREIGN
    if mirror.source is None or not same_volume(mirror.source, destination.source):
        return Job.FOREIGN
    # One that is over may have pivoted: as long as the XML does not say, it may still do.
    return Job.PIVOTING if mirror.is_over else _JOBS[mirror.ready]
