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
from blockmirror_driver.swap.reconcile import Evidence, Guest, Job, Side
from blockmirror_driver.virt.connection import Hypervisor
from blockmirror_driver.virt.domain import Domain
from blockmirror_driver.xml.disk import same_volume
from blockmirror_driver.xml.domain import DomainDisk

_GONE = Evidence(Guest.GONE, Job.NONE, Side.ABSENT, Side.ABSENT)


def read(
    hypervisor: Hypervisor,
    domain_uuid: str,
    dev: str,
    source: Disk,
    destination: Disk,
    *,
    pivot_requested: bool,
) -> Evidence:
    """Read the evidence of one swap. Changes nothing.

    :raise HypervisorUnavailable: when libvirt does not answer; nothing can be decided then.
    """
    try:
        domain = hypervisor.domain(domain_uuid)
    except exception.DomainNotFound:
        return _with_intent(_GONE, pivot_requested)
    stored = _stored_side(domain, dev, source, destination)
    try:
        if not domain.is_active():
            return Evidence(Guest.GONE, Job.NONE, Side.ABSENT, stored, pivot_requested)
        live = domain.live_disk(dev)
    except exception.DiskNotFound:
        return Evidence(Guest.RUNNING, Job.NONE, Side.OTHER, stored, pivot_requested)
    except exception.DomainNotFound:
        # It stopped between the two calls; its stored XML may have changed until then.
        stored = _stored_side(domain, dev, source, destination)
        return Evidence(Guest.GONE, Job.NONE, Side.ABSENT, stored, pivot_requested)
    job = _job(domain, dev, live, destination)
    return Evidence(
        Guest.RUNNING,
        job,
        side_of(live.disk.source, source, destination),
        stored,
        pivot_requested,
    )


def side_of(found: Source, source: Disk, destination: Disk) -> Side:
    """Tell which of the two volumes a source is."""
    if same_volume(found, source.source):
        return Side.SOURCE
    return Side.DESTINATION if same_volume(found, destination.source) else Side.OTHER


def _with_intent(evidence: Evidence, pivot_requested: bool) -> Evidence:
    return Evidence(evidence.guest, evidence.job, evidence.live, evidence.stored, pivot_requested)


def _stored_side(domain: Domain, dev: str, source: Disk, destination: Disk) -> Side:
    try:
        stored = domain.stored_disk(dev)
    except exception.DiskNotFound:
        return Side.OTHER
    except exception.DomainNotFound:
        return Side.ABSENT
    return Side.ABSENT if stored is None else side_of(stored.disk.source, source, destination)


def _job(domain: Domain, dev: str, live: DomainDisk, destination: Disk) -> Job:
    mirror = live.mirror
    if mirror is None:
        return Job.NONE if domain.job(dev) is None else Job.FOREIGN
    if mirror.source is None or not same_volume(mirror.source, destination.source):
        return Job.FOREIGN
    return {'yes': Job.READY, 'no': Job.COPYING}.get(mirror.ready, Job.ENDING)
