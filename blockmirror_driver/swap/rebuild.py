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
"""Writing the journal anew from the marks that swaps leave in their domains' metadata."""

from __future__ import annotations

import json
import time

from oslo_log import log as logging

from blockmirror_driver import exception
from blockmirror_driver.model import Disk
from blockmirror_driver.swap import cleanup, contents
from blockmirror_driver.swap.journal import Journal
from blockmirror_driver.swap.record import SwapRecord
from blockmirror_driver.swap.request import Ending
from blockmirror_driver.swap.states import ENDED, SwapState
from blockmirror_driver.virt.connection import Hypervisor
from blockmirror_driver.virt.domain import Domain
from blockmirror_driver.xml import disk as xml_disk
from blockmirror_driver.xml import metadata
from blockmirror_driver.xml.disk import same_volume

LOG = logging.getLogger(__name__)

#: Marks of swaps that a comparison has to come before the end of.
_COMPARED = (cleanup.COMPARED, contents.PAUSED)
#: Nobody tells any more for how long the guest may be paused for it.
_COMPARING = {'verify_contents': True, 'verify_pause': 0.0}


def rebuild(hypervisor: Hypervisor, journal: Journal) -> tuple[SwapRecord, ...]:
    """Write rows for swaps that domains are marked with and that the journal lost.

    Marks of swaps that have ended are taken off. What can't be read is logged and left.

    :raise HypervisorUnavailable: the domains can't be listed.
    :raise JournalUnusable: when a row can't be written.
    """
    known = {record.id: record.state for record in journal.records()}
    rebuilt = []
    for domain in hypervisor.domains():
        for mark in marks(domain):
            if mark.swap_id not in known:
                record = _write(journal, domain, mark)
                rebuilt += [record] if record else []
            elif known[mark.swap_id] in ENDED:
                _unmark(hypervisor, domain, mark)
    return tuple(rebuilt)


def marks(domain: Domain) -> tuple[metadata.SwapMark, ...]:
    """Return the swaps that a domain is marked with; none, and a warning, when unreadable."""
    try:
        return tuple(cleanup.marks_of(domain))
    except exception.BlockmirrorError as error:
        LOG.warning('The mark of domain %s can not be read: %s', domain.name, error)
        return ()


def _unmark(hypervisor: Hypervisor, domain: Domain, mark: metadata.SwapMark) -> None:
    try:
        cleanup.unmark(hypervisor, mark.swap_id, domain.uuid)
    except exception.BlockmirrorError as error:
        LOG.warning('Domain %s keeps its mark: %s', domain.name, error)


def _write(journal: Journal, domain: Domain, mark: metadata.SwapMark) -> SwapRecord | None:
    try:
        record = _record_of(domain, mark)
        journal.create(record)
    except (exception.InvalidDisk, exception.DiskBusy) as error:
        # Damaged; or another recovery, or another swap of the disk, was faster.
        LOG.warning('Swap %s of %s is not rebuilt: %s', mark.swap_id, domain.name, error)
        return None
    return record


def _copies(domain: Domain, mark: metadata.SwapMark, destination: Disk) -> bool:
    """Tell whether our job is surely there and not ready yet: then no pivot was asked for."""
    try:
        mirror = domain.live_disk(mark.target_dev).mirror
    except exception.BlockmirrorError:
        return False
    if mirror is None or mirror.source is None or mirror.is_over:
        return False
    return mirror.ready == 'no' and same_volume(mirror.source, destination.source)


def _record_of(domain: Domain, mark: metadata.SwapMark) -> SwapRecord:
    """A row that says no more than the mark does; the evidence decides the rest."""
    now = time.time()
    source = xml_disk.parse(mark.source_xml)
    destination = xml_disk.parse(mark.destination_xml)
    pivoting = mark.intent == cleanup.PIVOTING and not _copies(domain, mark, destination)
    return SwapRecord(
        id=mark.swap_id,
        domain_name=domain.name,
        domain_uuid=domain.uuid,
        dev=mark.target_dev,
        state=SwapState.PIVOTING if pivoting else SwapState.COPYING,
        ending=Ending.PIVOT,
        source_xml=mark.source_xml,
        destination_xml=mark.destination_xml,
        source_desc=source.source.describe(),
        destination_desc=destination.source.describe(),
        size=0,
        serial=source.serial,
        bandwidth=0,
        hold=False,
        pivot_requested=pivoting,
        owner=None,
        created_at=now,
        updated_at=now,
        detail="rebuilt from the domain's metadata",
        options=json.dumps(_COMPARING if mark.intent in _COMPARED else {}),
    )
