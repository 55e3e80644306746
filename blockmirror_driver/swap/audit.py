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
"""Whether everybody names the same volume: pure, one disk at a time.

Up to five parties say which volume a guest's disk is: the live and the stored XML, the disk's
serial, and, where Nova runs, its block device mapping and Cinder's attachment. Whatever
disagrees is a finding, with the way to mend it. Only what the journal proves may be mended by us
(:class:`Repair`); all else is told and left alone.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass

from blockmirror_driver import exception
from blockmirror_driver.swap import history
from blockmirror_driver.swap.record import SwapRecord
from blockmirror_driver.swap.states import ENDED, SwapState
from blockmirror_driver.xml import disk as xml_disk
from blockmirror_driver.xml import grammar
from blockmirror_driver.xml.disk import same_volume
from blockmirror_driver.xml.domain import DomainDisk


class Repair(enum.Enum):
    """What may be mended without asking anybody."""

    STORED = 'stored'
    """The stored XML names what a swap of ours moved the guest away from."""

    UNMARK = 'unmark'
    """The metadata of the domain has the mark of a swap that has ended."""

    SWEEP = 'sweep'
    """A secret of ours that no XML cites, or an old probe's domain."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that disagrees.

    :ivar text: what, without addresses or secrets
    :ivar fix: how an operator mends it
    :ivar repair: how we may; ``None`` when only an operator can know
    :ivar swap_id: the swap whose mark it is, where that is what is to be mended
    """

    text: str
    fix: str
    repair: Repair | None = None
    swap_id: str = ''

    @property
    def exit_code(self) -> int:
        """8 where only cleaning up is left, 7 where an operator must look."""
        error = exception.StateUnknown if self.repair is None else exception.CleanupIncomplete
        return error.exit_code


@dataclass(frozen=True, slots=True)
class Records:
    """What Nova and Cinder have on one volume of a guest; empty texts are what they lack.

    :ivar volume_id: of Nova's block device mapping
    :ivar attachment_id: the same mapping's
    :ivar device_name: as Nova calls it, ``/dev/vdb``
    :ivar attached_volume_id: the volume that Cinder has that attachment on
    :ivar attachment_status: Cinder's, ``attached`` when all is well
    :ivar volume_status: Cinder's, ``in-use`` when all is well
    :ivar migration_status: Cinder's
    """

    volume_id: str
    attachment_id: str = ''
    device_name: str = ''
    attached_volume_id: str = ''
    attachment_status: str = ''
    volume_status: str = ''
    migration_status: str = ''

    @property
    def dev(self) -> str:
        """The device without its directory."""
        return self.device_name.rpartition('/')[2]


@dataclass(frozen=True, slots=True)
class DiskFacts:
    """What was read of one disk of one guest.

    :ivar dev: the target, ``vda``
    :ivar live: ``None`` when the guest is off, or has no such disk
    :ivar stored: ``None`` when the domain is transient, or its stored XML has no such disk
    :ivar running: whether the guest runs
    :ivar persistent: whether the domain has a stored XML
    :ivar swaps: the journal's swaps of this disk, oldest first
    :ivar marks: ids of the swaps that the domain's metadata has for this disk
    :ivar owed: steps that Nova and Cinder are still owed after a swap of it
    :ivar records: what Nova and Cinder have, ``None`` when they were not asked, or have none
    :ivar asked: whether Nova and Cinder were asked
    :ivar guest_run: names this run of the guest, empty where it is off or not known
    """

    domain_name: str
    domain_uuid: str
    dev: str
    live: DomainDisk | None
    stored: DomainDisk | None
    running: bool = True
    persistent: bool = True
    swaps: tuple[SwapRecord, ...] = ()
    marks: tuple[str, ...] = ()
    owed: int = 0
    records: Records | None = None
    asked: bool = False
    guest_run: str = ''

    @property
    def serial(self) -> str:
        """The serial that the guest sees, or will see."""
        disk = self.live or self.stored
        return (disk.disk.serial or '') if disk else ''

    @property
    def open_swap(self) -> SwapRecord | None:
        """The swap of this disk that has not ended."""
        return next((swap for swap in self.swaps if swap.state not in ENDED), None)


def examine(facts: DiskFacts) -> tuple[Finding, ...]:
    """Return what disagrees, the gravest first; nothing of a disk that a swap is at work on."""
    swap = facts.open_swap
    if swap is not None and swap.owner_alive:
        return ()
    if swap is not None:
        return (_open(swap), *_marks(facts))
    hidden = history.hidden_pivot(facts.swaps, facts.guest_run) if facts.running else None
    if hidden is not None:
        # The stored XML is right, and the live one is what must not be believed.
        return (_behind_libvirt(hidden), *_marks(facts))
    found = [*_job(facts), *_definitions(facts), *_records(facts)]
    if facts.owed:
        found.append(
            Finding(
                f'{facts.owed} steps are owed to Nova and Cinder after a swap',
                'nova-compute does them; blockmirror show tells what keeps it from that',
            )
        )
    return (*found, *_marks(facts))


def _open(swap: SwapRecord) -> Finding:
    if swap.state is SwapState.UNKNOWN:
        return Finding(
            f'swap {swap.id} is unknown: the guest may be on either volume',
            f'look at both volumes, then: blockmirror resolve {swap.id}',
        )
    return Finding(
        f'swap {swap.id} is {swap.state.value} and nobody runs it',
        f'blockmirror recover {swap.id}',
    )


def _behind_libvirt(swap: SwapRecord) -> Finding:
    return Finding(
        f'swap {swap.id} switched the disk behind libvirt, whose live XML names the old volume',
        'power the guest off and on; do not migrate it, nor copy or resize this disk before',
    )


def _job(facts: DiskFacts) -> Iterator[Finding]:
    mirror = facts.live.mirror if facts.live else None
    if mirror is not None:
        yield Finding(
            'a block job that is not ours is on the disk',
            'find out who began it; nothing of ours touches it',
        )


def _definitions(facts: DiskFacts) -> Iterator[Finding]:
    live, stored = facts.live, facts.stored
    if live is None or not facts.persistent:
        return
    if stored is None:
        yield Finding(
            'the stored XML has no such disk: the guest loses it when it stops',
            f'virsh attach-device --config, with the live XML of {facts.dev}',
        )
        return
    if not same_volume(live.disk.source, stored.disk.source):
        yield _stale(facts, live, stored)
    elif live.disk.serial != stored.disk.serial:
        yield Finding(
            f'the live serial is {live.disk.serial or "none"}, the stored one '
            f'{stored.disk.serial or "none"}',
            'virsh edit; guests find their disks by it',
        )


def _stale(facts: DiskFacts, live: DomainDisk, stored: DomainDisk) -> Finding:
    name = stored.disk.source.describe()
    mover = _mover(facts, live, stored)
    if mover is not None:
        return Finding(
            f'the stored XML names {name}, which swap {mover.id} moved the guest away from: '
            'its next start would be from old data',
            'blockmirror audit --repair',
            Repair.STORED,
        )
    return Finding(
        f'the stored XML names {name}: the next start would be from another volume',
        'compare both volumes before the guest stops, then virsh edit',
    )


def _mover(facts: DiskFacts, live: DomainDisk, stored: DomainDisk) -> SwapRecord | None:
    """Return the last swap of the disk, if it is what made the two definitions differ."""
    switched = [swap for swap in facts.swaps if swap.state is SwapState.CLEANED]
    if not switched or facts.live is None or facts.live.mirror is not None:
        return None
    last = switched[-1]
    try:
        old, new = xml_disk.parse(last.source_xml), xml_disk.parse(last.destination_xml)
    except exception.InvalidDisk:
        return None
    moved = same_volume(live.disk.source, new.source)
    return last if moved and same_volume(stored.disk.source, old.source) else None


def _marks(facts: DiskFacts) -> Iterator[Finding]:
    ended = {swap.id for swap in facts.swaps if swap.state in ENDED}
    known = {swap.id for swap in facts.swaps}
    for mark in facts.marks:
        if mark in ended:
            yield Finding(
                f'the domain still has the mark of swap {mark}, which has ended',
                'blockmirror audit --repair',
                Repair.UNMARK,
                mark,
            )
        elif mark not in known:
            yield Finding(
                f'the domain has the mark of swap {mark}, which the journal does not know',
                'blockmirror recover rebuilds it from the mark',
            )


def _records(facts: DiskFacts) -> Iterator[Finding]:
    records = facts.records
    if records is None:
        if facts.asked and facts.live is not None and grammar.uuid_text(facts.serial):
            yield Finding(
                f'the guest has volume {facts.serial}, which Nova does not have on it',
                'detach it from the guest, once nothing there uses it',
            )
        return
    volume = records.volume_id
    if facts.live is None and facts.running:
        yield Finding(
            f'Nova has volume {volume} on the guest, which has no such disk',
            'detach it in Nova, or reboot the server hard',
        )
    elif facts.serial != volume:
        yield Finding(
            f"the disk's serial is {facts.serial or 'none'}, Nova's mapping has volume {volume}",
            'find out which volume the disk is before anything starts the guest anew',
        )
    yield from _attachment(records)


def _attachment(records: Records) -> Iterator[Finding]:
    volume = records.volume_id
    if not records.attached_volume_id:
        yield Finding(
            f'Cinder has no attachment {records.attachment_id or "of its id"} of volume {volume}',
            'detach and attach the volume; until then others may attach it as well',
        )
        return
    if records.attached_volume_id != volume:
        yield Finding(
            f"Nova's attachment is Cinder's of volume {records.attached_volume_id}, its mapping "
            f'has {volume}',
            'find out which volume the disk is before anything starts the guest anew',
        )
    if records.attachment_status != 'attached':
        yield Finding(
            f'Cinder has the attachment of volume {volume} as {records.attachment_status}',
            'openstack volume attachment complete',
        )
    if records.volume_status != 'in-use' or records.migration_status == 'migrating':
        status = ', '.join(
            word for word in (records.volume_status, records.migration_status) if word
        )
        yield Finding(
            f'Cinder has volume {volume} as {status}, and no swap of it is under way here',
            'a move that began a moment ago is well; else see the guide on interrupted moves',
        )
