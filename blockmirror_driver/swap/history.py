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
"""What the journal says of a disk's earlier swaps that forbids another one now."""

from __future__ import annotations

from collections.abc import Iterable

from blockmirror_driver import exception
from blockmirror_driver.mirror.options import QMP
from blockmirror_driver.swap import checks
from blockmirror_driver.swap.checks import Check, Subject
from blockmirror_driver.swap.record import SwapRecord
from blockmirror_driver.swap.request import Ending
from blockmirror_driver.swap.states import ENDED, SWITCHED


def hidden_pivot(records: Iterable[SwapRecord], guest_run: str) -> SwapRecord | None:
    """Return the swap that switched a disk behind libvirt in this run of its guest, if any.

    Until the guest is powered off libvirt's live XML then names the old volume, and what
    libvirt does by it is done to the wrong one.

    :param records: swaps of one disk.
    :param guest_run: see :func:`blockmirror_driver.swap.evidence.run_of`.
    """
    for record in records:
        hidden = record.method == QMP and record.ending is Ending.PIVOT
        if hidden and record.state in SWITCHED and guest_run in ('', record.guest_run):
            return record
    return None


def open_swap(
    records: Iterable[SwapRecord], domain_uuid: str, dev: str
) -> exception.DiskBusy | None:
    """Return the error that a swap of this disk which has not ended is, ``None`` without one."""
    for record in records:
        if (record.domain_uuid, record.dev) == (domain_uuid, dev) and record.state not in ENDED:
            return exception.DiskBusy(
                f'swap {record.id} of this disk is {record.state.value}',
                hint=f'blockmirror recover {record.id}',
            )
    return None


def look(records: Iterable[SwapRecord], subject: Subject) -> list[Check]:
    """Check that no swap of the disk is open, and that libvirt knows which volume it is on."""
    mine = [
        record
        for record in records
        if (record.domain_uuid, record.dev) == (subject.uuid, subject.request.dev)
    ]
    busy = open_swap(mine, subject.uuid, subject.request.dev)
    if busy is not None:
        return [checks.failed('no-open-swap', busy)]
    found = [checks.passed('no-open-swap', 'the journal has none of this disk')]
    hidden = hidden_pivot(mine, subject.guest_run)
    if hidden is not None:
        error = exception.DiskBusy(
            f'swap {hidden.id} switched this disk behind libvirt, which names the old volume',
            hint='power the guest off and on first: its stored XML is right',
        )
        found.append(checks.failed('live-xml', error))
    return found
