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
"""How much one host does at a time: reservations in the journal.

A reservation is the row of a swap that has not ended and whose owner lives; there is no
second book to keep true. oslo.concurrency's lock only guards reading the sum and writing the
row as one step.
"""

from __future__ import annotations

from dataclasses import dataclass

from oslo_concurrency import lockutils

from blockmirror_driver import exception
from blockmirror_driver.swap.journal import Journal
from blockmirror_driver.swap.record import SwapRecord
from blockmirror_driver.swap.states import WITH_JOB, SwapState


@dataclass(frozen=True, slots=True)
class Budget:
    """The limits of a host; ``bandwidth`` is bytes/s for all swaps together, 0 unlimited."""

    swaps: int
    bandwidth: int = 0

    def refusal(
        self, running: tuple[SwapRecord, ...], bandwidth: int, more: int = 1
    ) -> str | None:
        """Tell why ``more`` swaps of ``bandwidth`` bytes/s do not fit, ``None`` if they do."""
        if len(running) + more > self.swaps:
            told = f'{len(running)} of {self.swaps} swaps of this host are running'
            return told if more == 1 else f'{told}, {more} more are wanted'
        if self.bandwidth:
            wanted = more * (bandwidth or self.bandwidth)
            used = sum(record.bandwidth or self.bandwidth for record in running)
            if used + wanted > self.bandwidth:
                return f'{used} of {self.bandwidth} bytes/s are reserved, {wanted} more are wanted'
        return None


def reservations(journal: Journal) -> tuple[SwapRecord, ...]:
    """Return the swaps that count: a job may run, whether its owner lives or not.

    A swap that has not started its job counts only while its owner lives.
    """
    return tuple(
        record
        for record in journal.records(active_only=True)
        if record.state in WITH_JOB
        or (record.owner_alive and record.state in (SwapState.PLANNED, SwapState.PREPARED))
    )


def reserve(journal: Journal, budget: Budget, record: SwapRecord) -> None:
    """Write the first row of a swap if it fits.

    :raise BudgetExhausted: when it does not.
    :raise DiskBusy: when another swap of the same disk has not ended.
    """
    journal.check()
    with lockutils.lock(
        'blockmirror-budget', external=True, lock_path=str(journal.path.parent), delay=0.05
    ):
        refusal = budget.refusal(reservations(journal), record.bandwidth)
        if refusal:
            raise exception.BudgetExhausted(refusal)
        journal.create(record)
