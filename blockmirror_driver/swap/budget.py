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
"""How much one host does at a time: swaps, and bytes/s; of all of them, and to each backend.

There is no second book to keep true: what counts are the rows of swaps that have not ended, of
which each says what it may move. So a budget is as it was after any restart.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from oslo_config import cfg

from blockmirror_driver.model import BytesPerSecond
from blockmirror_driver.swap import backends
from blockmirror_driver.swap.journal import Journal
from blockmirror_driver.swap.record import SwapRecord
from blockmirror_driver.swap.states import WITH_JOB, SwapState

#: What a swap gets of a shared limit at the least, bytes/s, or all of a limit that is less: with
#: less it would never end, so that it waits or is refused.
LEAST = BytesPerSecond(1 << 20)


@dataclass(frozen=True, slots=True)
class Limit:
    """How many swaps at a time, and how many bytes/s together; 0 is unlimited."""

    swaps: int = 0
    bandwidth: int = 0

    @property
    def least(self) -> int:
        """What a swap gets at the least, bytes/s."""
        return min(LEAST, self.bandwidth)


@dataclass(frozen=True, slots=True)
class Claim:
    """What one swap takes of the budget, or wants of it; all in bytes/s.

    :param backend: where it goes; ``None`` counts for the host only.
    :param own: its own bandwidth; 0: it shares what those with one leave.
    :param granted: what its copy may move now at the most; 0: that is not known.
    :param kept: nobody runs it, so that its copy goes on as fast as it was left.
    """

    backend: str | None = None
    own: int = 0
    granted: int = 0
    kept: bool = False

    def uses(self, limit: Limit) -> int:
        """Return what it may move now, as far as a limit is concerned."""
        return self.granted or self.own or limit.bandwidth

    def needs(self, limit: Limit) -> int:
        """Return what is kept for it when it has given way to all others."""
        if self.kept:
            return max(self.uses(limit), self.own)  # whoever takes it up has that again
        return self.own or limit.least


@dataclass(frozen=True, slots=True)
class Scope:
    """A limit, and the claims that come under it, by their place in a sequence."""

    backend: str | None
    limit: Limit
    members: tuple[int, ...]

    @property
    def where(self) -> str:
        """What it is a limit of, without an address."""
        if self.backend is None:
            return 'of this host'
        return f'to this {self.backend.partition(":")[0]} backend'


@dataclass(frozen=True, slots=True)
class Budget:
    """The limits of a host, and those of each backend that it copies to."""

    host: Limit = Limit()
    backend: Limit = Limit()

    @classmethod
    def from_conf(cls, conf: cfg.ConfigOpts) -> Budget:
        """Read the options."""
        group = conf.blockmirror
        return cls(
            Limit(group.max_concurrent_swaps, group.max_host_bandwidth),
            Limit(group.max_backend_swaps, group.max_backend_bandwidth),
        )

    @property
    def counts_bytes(self) -> bool:
        """Whether there is a limit of bytes/s."""
        return bool(self.host.bandwidth or self.backend.bandwidth)

    def scopes(self, claims: Sequence[Claim]) -> Iterator[Scope]:
        """Give the host, and each backend that claims go to."""
        yield Scope(None, self.host, tuple(range(len(claims))))
        if self.backend == Limit():
            return
        for name in sorted({one.backend for one in claims if one.backend is not None}):
            yield Scope(
                name,
                self.backend,
                tuple(place for place, one in enumerate(claims) if one.backend == name),
            )

    def claim(self, record: SwapRecord) -> Claim:
        """Return what a swap takes."""
        backend = backends.of_record(record) if self.backend != Limit() else None
        return Claim(backend, record.bandwidth, record.granted, kept=not record.owner_alive)


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


def claims(journal: Journal, budget: Budget) -> dict[str, Claim]:
    """Return what the swaps that count take, by their ids."""
    return {record.id: budget.claim(record) for record in reservations(journal)}
