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
"""An operator's decision about a swap whose state is unknown."""

from __future__ import annotations

from blockmirror_driver import exception
from blockmirror_driver.mirror.options import CopyOptions
from blockmirror_driver.model import Disk
from blockmirror_driver.swap import cleanup, evidence
from blockmirror_driver.swap.journal import Journal
from blockmirror_driver.swap.ledger import swap_of
from blockmirror_driver.swap.reconcile import Evidence, Guest, Job, Side
from blockmirror_driver.swap.record import SwapRecord
from blockmirror_driver.swap.states import SwapState
from blockmirror_driver.virt.connection import Hypervisor
from blockmirror_driver.xml import disk as xml_disk
from blockmirror_driver.xml import domain as xml_domain


def resolve(
    hypervisor: Hypervisor, journal: Journal, record: SwapRecord, side: Side
) -> SwapRecord:
    """Settle an UNKNOWN swap on the side that an operator chose; both volumes are kept.

    A running guest can only be settled on the volume that it runs on. The stored XML of a
    guest that is off is made to name the chosen side, so that its next start uses it. Of a
    guest that runs on neither, the swap is given up: as the source, and no XML is touched.

    :raise WrongState: when the swap is not UNKNOWN, or the guest contradicts the choice.
    """
    if record.state is not SwapState.UNKNOWN:
        raise exception.WrongState(
            f'swap {record.id} is {record.state.value}, only an unknown one is resolved',
            hint='blockmirror recover takes up any other',
        )
    source = xml_disk.parse(record.source_xml)
    destination = xml_disk.parse(record.destination_xml)
    found = evidence.read(
        hypervisor,
        record.domain_uuid,
        record.dev,
        source,
        destination,
        pivot_requested=record.pivot_requested,
    )
    _require(found, side)
    if found.stored not in (side, Side.ABSENT) and not _is_elsewhere(found):
        chosen = record.source_xml if side is Side.SOURCE else record.destination_xml
        _store(hypervisor, record, chosen, source if side is Side.SOURCE else destination)
    state = SwapState.REVERTED if side is Side.SOURCE else SwapState.PIVOTED
    text = f'resolved by an operator: the {side.value}'
    if side is Side.SOURCE:
        swap = swap_of(record, source, destination, CopyOptions())
        text = '; '.join([text, *cleanup.release(hypervisor, swap)])
    journal.advance(record.id, state, text, exit_code=0 if side is Side.SOURCE else None)
    return journal.record(record.id)


def _require(found: Evidence, side: Side) -> None:
    if _is_elsewhere(found) and side is not Side.SOURCE:
        raise exception.WrongState(
            'the guest runs on neither volume', hint='as the source, the swap is given up'
        )
    if found.guest is Guest.RUNNING and found.live is not side and not _is_elsewhere(found):
        raise exception.WrongState(
            f'the guest runs on the {found.live.value}', hint='resolve to what it runs on'
        )
    if found.job is not Job.NONE:
        raise exception.WrongState(
            f'a block job is on the disk ({found.job.value})', hint='end it first'
        )


def _is_elsewhere(found: Evidence) -> bool:
    return found.guest is Guest.RUNNING and found.live in (Side.OTHER, Side.ABSENT)


def _store(hypervisor: Hypervisor, record: SwapRecord, chosen_xml: str, chosen: Disk) -> None:
    domain = hypervisor.domain(record.domain_uuid)
    as_domain = f'<domain><devices>{chosen_xml}</devices></domain>'
    domain.rewrite_stored(
        lambda stored: xml_domain.with_disk_source(stored, record.dev, chosen, live_xml=as_domain)
    )
