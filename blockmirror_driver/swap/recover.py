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

import contextlib
import dataclasses
import json
import time
from collections.abc import Callable

from oslo_log import log as logging

from blockmirror_driver import exception
from blockmirror_driver.mirror.options import CopyOptions
from blockmirror_driver.swap import contents, owner
from blockmirror_driver.swap.budget import Budget
from blockmirror_driver.swap.control import Control
from blockmirror_driver.swap.journal import Journal
from blockmirror_driver.swap.ledger import Ledger, Observer, swap_of
from blockmirror_driver.swap.reconcile import Decision, Evidence, Guest, Job, Side, decide
from blockmirror_driver.swap.record import Outcome, RecoverResult, SwapRecord
from blockmirror_driver.swap.request import ENDINGS, Ending, RecoverAction
from blockmirror_driver.swap.runner import Runner
from blockmirror_driver.swap.states import ENDED, SwapState
from blockmirror_driver.virt.connection import Hypervisor
from blockmirror_driver.xml import disk as xml_disk

LOG = logging.getLogger(__name__)

_INTERRUPTED = 'the process that ran the swap is gone'
#: States in which another end may still be asked for.
_UNDECIDED = frozenset({SwapState.COPYING, SwapState.READY, SwapState.HELD})
#: What a swap was cancelled for, by the exit code that the journal has kept.
_CAUSES: dict[int, type[exception.BlockmirrorError]] = {
    family.exit_code: family
    for family in (exception.TimedOut, exception.Cancelled, exception.CopyFailed)
}


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
        clock: Callable[[], float] = time.monotonic,
        *,
        budget: Budget,
    ) -> None:
        self._clock = clock
        self._budget = budget
        self._hypervisor = hypervisor
        self._journal = journal
        self._control = control
        self._observer = observer

    def recover(
        self, record: SwapRecord, *, action: RecoverAction = RecoverAction.RESUME
    ) -> RecoverResult:
        """Take up one swap.

        :param action: for a copy that still runs; what has switched is rolled forward.
        :raise SwapNotOwned: when its owner lives.
        """
        with owner.claimed(record.id):
            if not self._journal.adopt(record.id):
                raise exception.SwapNotOwned(f'swap {record.id} belongs to a living process')
            record = self._journal.record(record.id)
            if record.state in ENDED:
                # By another recovery, between the caller's look and ours.
                text = record.detail or record.state.value
                return RecoverResult(record.id, record.state, record.exit_code or 0, text)
            if action in ENDINGS and record.state in _UNDECIDED:
                self._journal.set_ending(record.id, ENDINGS[action])
                record = self._journal.record(record.id)
            try:
                outcome = self._run(record, action)
            except exception.BlockmirrorError as error:
                return self._failed(record, error)
        message = '; '.join(outcome.notes) or outcome.state.value
        return RecoverResult(record.id, outcome.state, outcome.exit_code, message)

    def _failed(self, record: SwapRecord, error: exception.BlockmirrorError) -> RecoverResult:
        state = record.state
        with contextlib.suppress(exception.JournalUnusable):
            state = self._journal.record(record.id).state
            if state not in ENDED:
                self._journal.release(record.id)
        return RecoverResult(record.id, state, error.exit_code, error.message)

    def _run(self, record: SwapRecord, action: RecoverAction) -> Outcome:
        swap = swap_of(
            record,
            xml_disk.parse(record.source_xml),
            xml_disk.parse(record.destination_xml),
            _options(record),
        )
        ledger = Ledger(self._journal, swap, self._observer, self._clock)
        runner = Runner(
            self._hypervisor, self._journal, swap, self._control, ledger, budget=self._budget
        )
        if swap.options.quiesce:
            thaw(self._hypervisor, swap.domain_uuid)
        if swap.options.verify_contents:
            contents.let_go_on(self._hypervisor, swap)
        try:
            return _decide(runner, record, action)
        finally:
            runner.close()


def thaw(hypervisor: Hypervisor, domain_uuid: str) -> None:
    """Let file systems go on that a process has frozen which died; of others nothing is."""
    try:
        count = hypervisor.domain(domain_uuid).thaw()
    except exception.BlockmirrorError as error:
        LOG.info('Domain %s: nothing was thawed: %s', domain_uuid, error)
    else:
        LOG.info(
            'Domain %s: %d file systems were frozen, and are not any more', domain_uuid, count
        )


def _decide(runner: Runner, record: SwapRecord, action: RecoverAction) -> Outcome:
    settlement = runner.settlement
    if record.state in (SwapState.PLANNED, SwapState.PREPARED):
        # The start of the copy is written before it is asked for: there is no job of ours.
        settlement.revert(exception.CopyFailed(f'{_INTERRUPTED}; the copy was never started'))
    if record.state is SwapState.VERIFIED:
        return settlement.forward()
    found = settlement.read()
    verdict = decide(found)
    LOG.info('Swap %s: %s: %s', record.id, verdict.decision.value, verdict.reason)
    if record.state is SwapState.PIVOTED:
        if _stays_switched(found):
            return settlement.forward()
        settlement.unknown(f'the guest had switched, but now {verdict.reason}')
    if verdict.decision is Decision.UNKNOWN:
        settlement.unknown(verdict.reason)
    if verdict.decision in (Decision.RESUME, Decision.WAIT):
        back = action is RecoverAction.CANCEL or record.state is SwapState.CANCELLING
        if back or found.job is Job.ABORTING:
            return runner.cancel(
                _cause(record, verdict.reason, asked=action is RecoverAction.CANCEL)
            )
        return runner.resume()
    kind = exception.GuestGone if found.guest is Guest.GONE else exception.CopyFailed
    return runner.settle(kind(f'{_INTERRUPTED}; {verdict.reason}'))


def _stays_switched(found: Evidence) -> bool:
    """Tell whether nothing contradicts a switch of which there was evidence."""
    if found.guest is Guest.GONE:
        return found.stored in (Side.DESTINATION, Side.ABSENT)
    return found.live is Side.DESTINATION


def _cause(record: SwapRecord, reason: str, *, asked: bool) -> exception.BlockmirrorError:
    """Return why the job is ended: what the journal says, else what was asked for now."""
    if record.state is SwapState.CANCELLING:
        if record.exit_code in _CAUSES:
            return _CAUSES[record.exit_code](record.detail)
        if record.ending is Ending.FINISH and not asked:
            return exception.CopyFailed(f'{_INTERRUPTED}; the copy is not known to be whole')
    if asked or record.state is SwapState.CANCELLING:
        return exception.Cancelled('cancelled by recovery; the guest is on the source')
    return exception.CopyFailed(f'{_INTERRUPTED}; {reason}')


def _options(record: SwapRecord) -> CopyOptions:
    """Return the options that the swap was started with, as far as this release has them."""
    known = {field.name for field in dataclasses.fields(CopyOptions)}
    given = json.loads(record.options)
    try:
        return CopyOptions(**{name: value for name, value in given.items() if name in known})
    except (exception.UsageError, TypeError):
        LOG.warning('Swap %s: its options are not understood; the defaults count', record.id)
        return CopyOptions()
