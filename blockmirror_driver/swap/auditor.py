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
"""Reads what :mod:`~blockmirror_driver.swap.audit` compares, and mends what may be mended."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from oslo_log import log as logging

from blockmirror_driver import exception
from blockmirror_driver.swap import audit, cleanup, evidence, rebuild, verify
from blockmirror_driver.swap.audit import DiskFacts, Finding, Records, Repair
from blockmirror_driver.swap.journal import Journal
from blockmirror_driver.swap.record import SwapRecord
from blockmirror_driver.virt.connection import Hypervisor
from blockmirror_driver.virt.domain import Domain
from blockmirror_driver.virt.throwaway import NAME_PREFIX
from blockmirror_driver.xml import domain as xml_domain
from blockmirror_driver.xml.domain import DomainDisk

LOG = logging.getLogger(__name__)

#: The volumes that Nova has on a guest, by the guest's uuid; ``None`` of one it does not know.
RecordsOf = Callable[[str], tuple[Records, ...] | None]


@dataclass(frozen=True, slots=True)
class Row:
    """One disk, or with an empty ``facts`` the host, and what disagrees there."""

    facts: DiskFacts | None
    findings: tuple[Finding, ...] = ()
    repaired: tuple[Finding, ...] = ()

    @property
    def exit_codes(self) -> tuple[int, ...]:
        """The exit codes of what is left."""
        return tuple(finding.exit_code for finding in self.findings)


class Auditor:
    """Audits one host. One thread uses it.

    :param records_of: asks Nova and Cinder, where there is a Nova.
    """

    def __init__(
        self, hypervisor: Hypervisor, journal: Journal, records_of: RecordsOf | None = None
    ) -> None:
        self._hypervisor = hypervisor
        self._journal = journal
        self._records_of = records_of

    def audit(self, *, domain_uuid: str = '', repair: bool = False) -> tuple[Row, ...]:
        """Return a row for each disk of each guest, then one for the host.

        :param domain_uuid: of one guest; the host is left out then.
        :param repair: mend what may be mended; changes nothing without.
        :raise HypervisorUnavailable: libvirt does not answer.
        :raise JournalUnusable: the journal can't be read; nothing is concluded without it.
        """
        rows = [Row(facts, audit.examine(facts)) for facts in self._facts(domain_uuid)]
        leftovers = () if domain_uuid else self._leftovers()
        if leftovers:
            rows.append(Row(None, leftovers))
        return tuple(self._repaired(row) for row in rows) if repair else tuple(rows)

    def _facts(self, domain_uuid: str = '') -> list[DiskFacts]:
        """Read all disks of all guests, or of one."""
        swaps: dict[tuple[str, str], list[SwapRecord]] = {}
        for record in self._journal.records():
            swaps.setdefault((record.domain_uuid, record.dev), []).append(record)
        owed = [duty.swap_id for duty in self._journal.duties.owed()]
        found: list[DiskFacts] = []
        for domain in self._hypervisor.domains():
            wanted = domain_uuid in ('', domain.uuid)
            if wanted and not domain.name.startswith(NAME_PREFIX):
                found += self._of_domain(domain, swaps, owed)
        return found

    def _of_domain(
        self,
        domain: Domain,
        swaps: Mapping[tuple[str, str], list[SwapRecord]],
        owed: list[str],
    ) -> list[DiskFacts]:
        try:
            running, live, persistent, stored = _definitions(domain)
            guest_run = evidence.run_of(domain.xml()) if running else ''
        except (exception.DomainNotFound, exception.InvalidDisk) as error:
            LOG.warning('Domain %s is not audited: %s', domain.name, error)
            return []
        asked = self._records_of is not None
        records = self._records_of(domain.uuid) if self._records_of else None
        marks = rebuild.marks(domain)
        placed = _placed(records or (), {**stored, **live})
        facts = []
        for dev in dict.fromkeys([*live, *stored, *placed]):
            of_disk = tuple(swaps.get((domain.uuid, dev), ()))
            facts.append(
                DiskFacts(
                    domain_name=domain.name,
                    domain_uuid=domain.uuid,
                    dev=dev,
                    live=live.get(dev),
                    stored=stored.get(dev),
                    running=running,
                    persistent=persistent,
                    swaps=of_disk,
                    marks=tuple(m.swap_id for m in marks if m.target_dev == dev),
                    owed=sum(swap.id in owed for swap in of_disk),
                    records=placed.get(dev),
                    asked=asked and records is not None,
                    guest_run=guest_run,
                )
            )
        return facts

    def _leftovers(self) -> tuple[Finding, ...]:
        left = (
            *cleanup.leftover_secrets(self._hypervisor, self._journal),
            *self._hypervisor.sweep_probes(dry_run=True),
        )
        return tuple(
            Finding(f'{name} is left over', 'blockmirror audit --repair', Repair.SWEEP)
            for name in left
        )

    # -- mending -----------------------------------------------------------------------

    def _repaired(self, row: Row) -> Row:
        """Mend what may be mended of a row; what could not be stays a finding."""
        if row.facts is None:
            left = self._swept(row.findings)
        else:
            facts = row.facts
            left = tuple(one for one in row.findings if not self._mend(facts, one))
        return Row(row.facts, left, tuple(one for one in row.findings if one not in left))

    def _swept(self, findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
        """Remove what is left over, and return what is there all the same."""
        try:
            cleanup.sweep(self._hypervisor, self._journal)
            self._hypervisor.sweep_probes()
            still = self._leftovers()
        except exception.BlockmirrorError as error:
            LOG.warning('It could not be mended: %s', error)
            return findings
        return tuple(one for one in findings if one in still)

    def _mend(self, facts: DiskFacts, finding: Finding) -> bool:
        try:
            match finding.repair:
                case Repair.STORED:
                    return self._mend_stored(facts)
                case Repair.UNMARK:
                    cleanup.unmark(self._hypervisor, finding.swap_id, facts.domain_uuid)
                    return True
        except exception.BlockmirrorError as error:
            LOG.warning('It could not be mended: %s', error)
        return False

    def _mend_stored(self, facts: DiskFacts) -> bool:
        """Bring the stored XML in line, unless it is not so any more."""
        found = [
            finding.repair
            for now in self._facts(facts.domain_uuid)
            if now.dev == facts.dev
            for finding in audit.examine(now)
        ]
        if Repair.STORED not in found:
            return False
        verify.repair_stored(self._hypervisor.domain(facts.domain_uuid), facts.dev)
        return True


def _definitions(
    domain: Domain,
) -> tuple[bool, dict[str, DomainDisk], bool, dict[str, DomainDisk]]:
    """Return whether it runs, its live disks, whether it is stored, and its stored disks."""
    text = domain.xml()
    running = xml_domain.run_id(text) is not None
    persistent = domain.is_persistent()
    live = _disks(text) if running else {}
    stored = _disks(domain.xml(inactive=True)) if persistent else {}
    return running, live, persistent, stored


def _disks(domain_xml: str) -> dict[str, DomainDisk]:
    """Return what may be a volume, by its target: no CD or floppy drives."""
    return {
        one.disk.target_dev: one
        for one in xml_domain.disks(domain_xml)
        if one.disk.device in ('disk', 'lun')
    }


def _placed(records: tuple[Records, ...], disks: Mapping[str, DomainDisk]) -> dict[str, Records]:
    """Find the disk of each volume: by its serial, else by the device that Nova names."""
    serials = {disk.disk.serial: dev for dev, disk in disks.items() if disk.disk.serial}
    return {serials.get(one.volume_id, one.dev): one for one in records}
