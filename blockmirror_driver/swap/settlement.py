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
"""How a swap ends once its job is over, or can't be driven any more: by evidence."""

from __future__ import annotations

from dataclasses import replace
from typing import NoReturn

from oslo_log import log as logging

from blockmirror_driver import exception
from blockmirror_driver.mirror.states import Cause
from blockmirror_driver.swap import cleanup, evidence, qos, verify
from blockmirror_driver.swap.journal import Journal
from blockmirror_driver.swap.ledger import Ledger, Swap
from blockmirror_driver.swap.reconcile import Evidence, Guest, Job, Side
from blockmirror_driver.swap.record import Outcome
from blockmirror_driver.swap.states import SwapState
from blockmirror_driver.virt.connection import Hypervisor
from blockmirror_driver.virt.domain import Domain

LOG = logging.getLogger(__name__)

_UNCLEAN = exception.CleanupIncomplete.exit_code
_UNTIL = 'the block job ends when the destination answers again'


#: Ends of the job that an event of the hypervisor told.
END_TOLD = frozenset({Cause.JOB_FAILED, Cause.CANCELED, Cause.CANCELED_ELSEWHERE})


class Settlement:
    """The last steps of one swap. One thread calls it, the runner's.

    Each takes note of what is so already. A journal that can't be written is logged and
    stops none of them: recovery finds the same evidence.
    """

    def __init__(
        self, hypervisor: Hypervisor, journal: Journal, swap: Swap, ledger: Ledger
    ) -> None:
        self._hypervisor = hypervisor
        self._journal = journal
        self._swap = swap
        self._ledger = ledger

    def read(
        self,
        *,
        guest_was_gone: bool = False,
        may_have_switched: bool = False,
        end_was_told: bool = False,
        domain: Domain | None = None,
    ) -> Evidence:
        """Read the evidence.

        :param guest_was_gone: the guest was seen to stop. One that runs all the same was
            started anew, from its stored XML, and says nothing of the disk before.
        :param may_have_switched: somebody else's pivot was seen under way.
        :param end_was_told: an event said that the job failed or was cancelled, so that a
            pivot that was asked for is known not to have happened.
        :param domain: the guest, where it was looked up before.
        :raise BlockmirrorError: libvirt does not answer.
        """
        found = evidence.read(
            self._hypervisor,
            self._swap.domain_uuid,
            self._swap.dev,
            self._swap.source,
            self._swap.destination,
            pivot_requested=(self._ledger.pivot_requested or may_have_switched)
            and not end_was_told,
            guest_run=self._swap.guest_run,
            domain=domain,
        )
        LOG.info('Swap %s: evidence %s', self._swap.id, found)
        if guest_was_gone and found.guest is Guest.RUNNING:
            return replace(found, guest=Guest.GONE, live=Side.ABSENT, stored=found.live)
        return found

    def agree(self, domain: Domain, found: Evidence) -> None:
        """Make live and stored source agree, so that a guest that dies now leaves an answer.

        :param domain: the guest; there is no time to look it up again.
        :param found: what was read of it a moment ago.
        :raise GuestGone: CopyFailed: there is nothing to pivot.
        """
        if found.guest is Guest.GONE:
            raise exception.GuestGone('the guest stopped')
        if found.live is not Side.SOURCE or found.job is not Job.READY:
            # An event may be about another tool's job: only what is read is pivoted.
            raise exception.CopyFailed('our block job is not ready to pivot after all')
        if found.stored not in (Side.SOURCE, Side.ABSENT):
            verify.repair_stored(domain, self._swap.dev)
            self._ledger.note('the stored XML named another volume and was brought in line')

    def revert(self, cause: exception.BlockmirrorError) -> NoReturn:
        """Let go of the destination: the guest is on the source. Raise ``cause``."""
        problems = cleanup.release(self._hypervisor, self._swap)
        if problems:
            self._ledger.note('; '.join(problems))
        self._ledger.settle(SwapState.REVERTED, cause.message, exit_code=cause.exit_code)
        self._ledger.emit('error', cause.message)
        raise cause

    def finished(self) -> Outcome:
        """The copy is whole and the guest is on the source, as it was asked for."""
        # The destination's secrets stay only with those who use it: nobody does.
        problems = cleanup.release(self._hypervisor, self._swap)
        if problems:
            self._ledger.note('; '.join(problems))
        self._ledger.settle(
            SwapState.FINISHED, 'the destination is a consistent copy', exit_code=0
        )
        return self._ledger.outcome(0)

    def still_ending(self, cause: exception.BlockmirrorError) -> NoReturn:
        """The destination hangs, so the job can't end yet. The guest is on the source.

        Raises an error of the kind of ``cause``, with a hint how to take the swap up again.
        """
        text = cause.message if _UNTIL in cause.message else f'{cause.message}; {_UNTIL}'
        self._ledger.note(text, exit_code=cause.exit_code)
        self._ledger.release()
        self._ledger.emit('error', text)
        error = type(cause)(
            text, hint=f'the guest is on the source; later: blockmirror recover {self._swap.id}'
        )
        raise error from cause

    def left(self, exit_code: int) -> Outcome:
        """Leave the job running; anybody may take the swap up."""
        self._ledger.note(
            'left running; blockmirror recover --pivot, --finish or --cancel ends it'
        )
        self._ledger.release()
        return self._ledger.outcome(exit_code)

    def unknown(
        self, text: str, cause: Exception | None = None, *, may_have_switched: bool = False
    ) -> NoReturn:
        """Touch nothing more, keep both volumes.

        :raise StateUnknown: always.
        """
        self._ledger.settle(
            SwapState.UNKNOWN,
            text,
            exit_code=exception.StateUnknown.exit_code,
            pivot_requested=True if may_have_switched else None,
        )
        self._ledger.release()
        self._ledger.emit('error', text)
        raise exception.StateUnknown(text) from cause

    def forward(self) -> Outcome:
        """The guest is on the destination: verify, clean up. Nothing raises from here on."""
        try:
            problems = self._steps_forward()
        except exception.BlockmirrorError as error:
            problems = error.message
        if problems:
            LOG.warning('Swap %s pivoted and is not clean yet: %s', self._swap.id, problems)
            self._ledger.note(problems, exit_code=_UNCLEAN)
            self._ledger.release()
            return self._ledger.outcome(_UNCLEAN)
        return self._ledger.outcome(0)

    def _steps_forward(self) -> str:
        """Return what is left to do, empty when the swap is done.

        :raise JournalUnusable: only the end could not be written.
        """
        if self._ledger.state is not SwapState.VERIFIED:
            self._ledger.settle(SwapState.PIVOTED, 'the guest is on the destination')
            problems = self._verify()
            if problems:
                return '; '.join(problems)
            limits = qos.apply(self._hypervisor, self._swap)
            if limits:
                self._ledger.note(limits)
            self._ledger.settle(SwapState.VERIFIED, 'live and stored XML name the destination')
        problems = cleanup.complete(self._hypervisor, self._journal, self._swap)
        if problems:
            return '; '.join(problems)
        self._ledger.advance(SwapState.CLEANED, 'done', exit_code=0)
        return ''

    def _verify(self) -> list[str]:
        found = verify.verify(
            self._hypervisor,
            self._swap.domain_uuid,
            self._swap.dev,
            self._swap.source,
            self._swap.destination,
            serial=self._swap.serial,
        )
        for note in found.notes:
            self._ledger.note(note)
        return list(found.problems)


def as_failure(error: exception.BlockmirrorError) -> exception.BlockmirrorError:
    """Return the error that a copy under way ends with: it is past being refused."""
    if not isinstance(error, exception.Refused):
        return error
    failure = exception.CopyFailed(error.message, hint=error.hint)
    failure.__cause__ = error
    return failure
