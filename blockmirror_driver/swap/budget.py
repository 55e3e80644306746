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

from collections.abc import Sequence
from dataclasses import dataclass

from oslo_concurrency import lockutils
from oslo_config import cfg

from blockmirror_driver import exception
from blockmirror_driver.swap import backends
from blockmirror_driver.swap.journal import Journal
from blockmirror_driver.swap.record import SwapRecord
from blockmirror_driver.swap.states import WITH_JOB, SwapState


@dataclass(frozen=True, slots=True)
class Limit:
    """How many swaps at a time, and how many bytes/s together; 0 is unlimited."""

    swaps: int = 0
    bandwidth: int = 0

    def refusal(
        self, where: str, running: Sequence[SwapRecord], bandwidth: int, more: int
    ) -> str | None:
        """Tell why ``more`` swaps of ``bandwidth`` bytes/s do not fit, ``None`` if they do.

        :param where: what the limit is of, for the operator.
        :param running: the swaps that count.
        """
        if self.swaps and len(running) + more > self.swaps:
            told = f'{len(running)} of {self.swaps} swaps {where} are running'
            return told if more == 1 else f'{told}, {more} more are wanted'
        if self.bandwidth:
            wanted = more * (bandwidth or self.bandwidth)
            used = sum(record.bandwidth or self.bandwidth for record in running)
            if used + wanted > self.bandwidth:
                return (
                    f'{used} of {self.bandwidth} bytes/s {where} are reserved, '
                    f'{wanted} more are wanted'
                )
        return None


@dataclass(frozen=True, slots=True)
class Budget:
    """The limits of a host, and those of each backend that it copies to."""

    host: Limit
    backend: Limit = Limit()

    @classmethod
    def from_conf(cls, conf: cfg.ConfigOpts) -> Budget:
        """Read the options."""
        group = conf.blockmirror
        return cls(
            Limit(group.max_concurrent_swaps, group.max_host_bandwidth),
            Limit(group.max_backend_swaps, group.max_backend_bandwidth),
        )

    def refusal(
        self,
        running: Sequence[SwapRecord],
        backend: str,
        bandwidth: int,
        more: int = 1,
    ) -> str | None:
        """Tell why ``more`` swaps do not fit, one of them to ``backend``.

        :param backend: its name, see :mod:`.backends`.
        """
        over = self.host.refusal('of this host', running, bandwidth, more)
        if over is not None or self.backend == Limit():
            return over
        beside = [record for record in running if backends.of_record(record) == backend]
        where = f'to this {backend.partition(":")[0]} backend'
        return self.backend.refusal(where, beside, bandwidth, 1)


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
        backend = backends.of_record(record)
        refusal = budget.refusal(reservations(journal), backend, record.bandwidth)
        if refusal:
            raise exception.BudgetExhausted(refusal)
        journal.create(record)
