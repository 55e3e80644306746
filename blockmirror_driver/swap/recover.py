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
"""Taking up what a dead process left: by evidence, whatever the journal had in mind."""

from __future__ import annotations

import json
import time

from oslo_log import log as logging

from blockmirror_driver import exception
from blockmirror_driver.mirror.options import CopyOptions
from blockmirror_driver.model import Disk
from blockmirror_driver.swap import cleanup, evidence
from blockmirror_driver.swap.control import Control
from blockmirror_driver.swap.journal import Journal
from blockmirror_driver.swap.ledger import Observer, swap_of
from blockmirror_driver.swap.reconcile import Decision, decide
from blockmirror_driver.swap.record import Outcome, RecoverResult, SwapRecord
from blockmirror_driver.swap.request import Ending
from blockmirror_driver.swap.runner import Runner
from blockmirror_driver.swap.states import SwapState
from blockmirror_driver.virt.connection import Hypervisor
from blockmirror_driver.virt.domain import Domain
from blockmirror_driver.xml import disk as xml_disk
from blockmirror_driver.xml import domain as xml_domain
from blockmirror_driver.xml import metadata

LOG = logging.getLogger(__name__)

_INTERRUPTED = 'the process that ran the swap is gone'


class Recovery:
    """Brings swaps without a living owner to an end.

    One thread calls it. Running it again, or in two processes at once, is safe: a swap is
    adopted by exactly one.
    """

    def __init__(
        self,
        hypervisor: Hypervisor,
        journal: Journal,
        control: Control,
        observer: Observer | None = None,
    ) -> None:
        self._hypervisor = hypervisor
        self._journal = journal
        self._control = control
        self._observer = observer

    def recover(self, record: SwapRecord, *, action: str = 'resume') -> RecoverResult:
        """Take up one swap.

        :param action: ``resume`` takes a running copy to the end that was asked for,
            ``cancel`` ends it; what has switched is rolled forward either way.
        :raise SwapNotOwned: when its owner lives.
        """
        if not self._journal.adopt(record.id):
            raise exception.SwapNotOwned(f'swap {record.id} belongs to a living process')
        record = self._journal.record(record.id)
        try:
            outcome = self._run(record, action)
        except exception.BlockmirrorError as error:
            state = self._journal.record(record.id).state
            return RecoverResult(record.id, state, error.exit_code, error.message)
        message = '; '.join(outcome.notes) or outcome.state.value
        return RecoverResult(record.id, outcome.state, outcome.exit_code, message)

    def _run(self, record: SwapRecord, action: str) -> Outcome:
        source = xml_disk.parse(record.source_xml)
        destination = xml_disk.parse(record.destination_xml)
        found = evidence.read(
            self._hypervisor,
            record.domain_uuid,
            record.dev,
            source,
            destination,
            pivot_requested=record.pivot_requested,
        )
        verdict = decide(found)
        LOG.info('Swap %s: %s: %s', record.id, verdict.decision.value, verdict.reason)
        options = CopyOptions(**json.loads(record.options))
        swap = swap_of(record, source, destination, options)
        cause = exception.CopyFailed(f'{_INTERRUPTED}; {verdict.reason}')
        if verdict.decision is Decision.UNKNOWN or self._is_off(record):
            return self._without_domain(record, verdict.decision, verdict.reason)
        runner = Runner(self._hypervisor, self._journal, swap, self._control, self._observer)
        try:
            if verdict.decision is Decision.RESUME and not _wants_back(record, action):
                return runner.resume()
            if verdict.decision is Decision.RESUME:
                return runner.cancel(_back_cause(record))
            if verdict.decision is Decision.WAIT:
                return runner.cancel(cause)
            return runner.settle(cause)
        finally:
            runner.close()

    def _is_off(self, record: SwapRecord) -> bool:
        try:
            self._hypervisor.domain(record.domain_uuid)
        except exception.DomainNotFound:
            return True
        return False

    def _without_domain(self, record: SwapRecord, decision: Decision, reason: str) -> Outcome:
        """Nothing can be done on a guest: only the books are kept."""
        swap = swap_of(
            record,
            xml_disk.parse(record.source_xml),
            xml_disk.parse(record.destination_xml),
            CopyOptions(),
        )
        if decision is not Decision.REVERT:
            self._advance(record, SwapState.UNKNOWN, reason, exception.StateUnknown.exit_code)
            self._journal.release(record.id)
            raise exception.StateUnknown(f'swap {record.id}: {reason}')
        cleanup.release(self._hypervisor, swap)
        cause = exception.GuestGone(f'{_INTERRUPTED}, and so is the guest')
        self._advance(record, SwapState.REVERTED, cause.message, cause.exit_code)
        raise cause

    def _advance(self, record: SwapRecord, state: SwapState, detail: str, code: int) -> None:
        self._journal.advance(record.id, state, detail, exit_code=code)

    def rebuild(self) -> tuple[SwapRecord, ...]:
        """Write rows for swaps that domains are marked with and that the journal lost."""
        known = {record.id for record in self._journal.records()}
        rebuilt = []
        for domain in self._hypervisor.domains():
            text = domain.mark()
            for mark in metadata.parse(text) if text else ():
                if mark.swap_id not in known:
                    record = _record_of(domain, mark)
                    self._journal.create(record)
                    rebuilt.append(record)
        return tuple(rebuilt)


def _wants_back(record: SwapRecord, action: str) -> bool:
    return action == 'cancel' or record.state is SwapState.CANCELLING


def _back_cause(record: SwapRecord) -> exception.BlockmirrorError:
    if record.state is SwapState.CANCELLING and record.detail:
        return exception.Cancelled(record.detail)
    return exception.Cancelled('cancelled by recovery; the guest is on the source')


def _record_of(domain: Domain, mark: metadata.SwapMark) -> SwapRecord:
    """A row that says no more than the mark does; the evidence decides the rest."""
    now = time.time()
    source_xml = mark.source_xml or xml_domain.disk_xml(domain.xml(), mark.target_dev)
    source: Disk = xml_disk.parse(source_xml)
    destination = xml_disk.parse(mark.destination_xml)
    pivoting = mark.intent == 'pivoting'
    return SwapRecord(
        id=mark.swap_id,
        domain_name=domain.name,
        domain_uuid=domain.uuid,
        dev=mark.target_dev,
        state=SwapState.PIVOTING if pivoting else SwapState.COPYING,
        ending=Ending.PIVOT,
        source_xml=source_xml,
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
    )
