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
"""Asking for the switch: what is read and written between READY and the request."""

from __future__ import annotations

from concurrent.futures import Future

from blockmirror_driver import exception
from blockmirror_driver.mirror.engine import Mirror
from blockmirror_driver.mirror.states import JobState
from blockmirror_driver.swap import cleanup
from blockmirror_driver.swap.ledger import Ledger, Swap
from blockmirror_driver.swap.reconcile import Evidence
from blockmirror_driver.swap.settlement import Settlement
from blockmirror_driver.swap.states import SwapState
from blockmirror_driver.virt.connection import Hypervisor
from blockmirror_driver.virt.domain import JobInfo

#: Seconds that what a look told of a copy will do for the account of it. What the guest has
#: written in them is missing there.
_KNOWN_FOR = 2.0
#: Seconds that the numbers of a job are waited for at most.
_NUMBERS_WITHIN = 0.1


class Switch:
    """Of one swap. One thread uses it, the runner's."""

    def __init__(
        self, hypervisor: Hypervisor, swap: Swap, ledger: Ledger, settlement: Settlement
    ) -> None:
        self._hypervisor = hypervisor
        self._swap = swap
        self._ledger = ledger
        self._settlement = settlement

    def ask(self, mirror: Mirror) -> JobState:
        """Ask for the pivot of a copy that is READY; return what :meth:`Mirror.pivot` does.

        :raise GuestGone: CopyFailed: HypervisorUnavailable: JournalUnusable: nothing was asked
            for.
        """
        # libvirt is asked for the evidence while the intent is written.
        found = self._hypervisor.beside(lambda: self._settlement.read(domain=mirror.domain))
        # A pivot waits in libvirt for the answer of QEMU to another question.
        known = self._ledger.clock() - mirror.looked_at <= _KNOWN_FOR
        numbers = None if known else self._numbers(mirror)
        self._ledger.advance(SwapState.PIVOTING, 'asking for the pivot', pivot_requested=True)
        try:
            self._settlement.agree(mirror.domain, self._found(mirror, found))
        except exception.BlockmirrorError:
            self._ledger.settle(
                SwapState.READY, 'the pivot was not asked for', pivot_requested=False
            )
            raise
        if self._swap.marked != cleanup.PIVOTING:
            cleanup.mark(self._hypervisor, self._swap, cleanup.PIVOTING)
        began = self._ledger.clock()
        try:
            return mirror.pivot()
        finally:
            self._ledger.pivot_seconds = self._ledger.clock() - began
            job = None if numbers is None else _answer(numbers)
            self._ledger.count(mirror.snapshot().progress, job)

    def count(self, mirror: Mirror) -> None:
        """Take note of what was moved by a copy that stays as it is."""
        self._ledger.count(mirror.snapshot().progress, _answer(self._numbers(mirror)))

    def _found(self, mirror: Mirror, found: Future[Evidence]) -> Evidence:
        try:
            return found.result()
        except exception.HypervisorUnavailable:
            # A whole copy is not given up for a libvirtd that is restarted: reading changes
            # nothing, so it is asked again, of the next connection.
            return self._settlement.read(domain=mirror.domain)

    def _numbers(self, mirror: Mirror) -> Future[JobInfo | None]:
        domain, dev = mirror.domain, self._swap.dev
        return self._hypervisor.beside(lambda: domain.job(dev))


def _answer(numbers: Future[JobInfo | None]) -> JobInfo | None:
    """Return what is known by now, or soon: they are not worth more than that."""
    try:
        return numbers.result(_NUMBERS_WITHIN)
    except (exception.BlockmirrorError, TimeoutError):
        return None
