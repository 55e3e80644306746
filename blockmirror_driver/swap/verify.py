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
"""Promise P5: when a swap may be called done."""

from __future__ import annotations

from dataclasses import dataclass

from blockmirror_driver import exception
from blockmirror_driver.model import Disk
from blockmirror_driver.swap import evidence
from blockmirror_driver.swap.reconcile import Evidence, Guest, Job, Side
from blockmirror_driver.virt.connection import Hypervisor
from blockmirror_driver.virt.domain import Domain
from blockmirror_driver.xml import domain as xml_domain


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found after the pivot; ``problems`` is empty when the swap is done."""

    evidence: Evidence
    problems: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing contradicts the switch."""
        return not self.problems


def verify(
    hypervisor: Hypervisor,
    domain_uuid: str,
    dev: str,
    source: Disk,
    destination: Disk,
    *,
    serial: str | None,
) -> Verification:
    """Check that the guest is on the destination, and mend a stale stored XML.

    :raise HypervisorUnavailable: when libvirt does not answer; the swap stays PIVOTED.
    """
    notes: list[str] = []
    found = evidence.read(hypervisor, domain_uuid, dev, source, destination, pivot_requested=True)
    if _is_stale(found):
        domain = hypervisor.domain(domain_uuid)
        repair_stored(domain, dev)
        notes.append('the stored XML named another volume and was brought in line')
        found = evidence.read(
            hypervisor, domain_uuid, dev, source, destination, pivot_requested=True
        )
    problems = [*_problems(found), *_serial_problems(hypervisor, domain_uuid, dev, serial)]
    return Verification(found, tuple(problems), tuple(notes))


def repair_stored(domain: Domain, dev: str) -> None:
    """Give the stored XML's disk the source and the format of the live one."""
    live_xml = domain.xml()
    live = xml_domain.find(live_xml, dev)
    domain.rewrite_stored(
        lambda stored: xml_domain.with_disk_source(stored, dev, live.disk, live_xml=live_xml)
    )


def _is_stale(found: Evidence) -> bool:
    return (
        found.guest is Guest.RUNNING
        and found.job is Job.NONE
        and found.live is Side.DESTINATION
        and found.stored in (Side.SOURCE, Side.OTHER)
    )


def _problems(found: Evidence) -> list[str]:
    problems = []
    if found.job is not Job.NONE:
        problems.append(f'a block job is on the disk ({found.job.value})')
    if found.guest is Guest.RUNNING and found.live is not Side.DESTINATION:
        problems.append(f'the live XML names {_name(found.live)}')
    if found.stored not in (Side.DESTINATION, Side.ABSENT):
        problems.append(f'the stored XML names {_name(found.stored)}')
    return problems


def _name(side: Side) -> str:
    return {
        Side.SOURCE: 'the source',
        Side.DESTINATION: 'the destination',
        Side.OTHER: 'a third volume',
        Side.ABSENT: 'no such disk',
    }[side]


def _serial_problems(
    hypervisor: Hypervisor, domain_uuid: str, dev: str, serial: str | None
) -> list[str]:
    """Compare what the guest sees; of one that is gone nothing can be said."""
    try:
        found = hypervisor.domain(domain_uuid).live_disk(dev).disk.serial
    except (exception.DomainNotFound, exception.DiskNotFound):
        return []
    return [] if found == serial else ["the disk's serial changed"]
