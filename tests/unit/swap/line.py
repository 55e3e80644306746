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
"""Two processes with one journal, and swaps that want a part of its budget."""

from __future__ import annotations

import queue
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import fixtures
import testtools

from blockmirror_driver.model import BytesPerSecond, Seconds
from blockmirror_driver.swap import turn as turns
from blockmirror_driver.swap.budget import Budget, Limit
from blockmirror_driver.swap.control import Control
from blockmirror_driver.swap.journal import Journal
from blockmirror_driver.swap.record import SwapRecord
from blockmirror_driver.swap.sharing import EVERY, Sharing
from blockmirror_driver.swap.states import SwapState
from blockmirror_driver.swap.turn import Turn
from tests.unit.swap.records import record

MIB = 1 << 20


def disk_in(pool: str) -> str:
    """A <disk> of a backend of this name."""
    return f"<disk type='file'><source file='/volumes/{pool}/disk'/><target dev='vda'/></disk>"


def to(pool: str, **changes: Any) -> SwapRecord:
    """A swap to that backend."""
    return record(destination_xml=disk_in(pool), **changes)


class Copy:
    """A running copy of one process: its limit follows the journal."""

    def __init__(self, host: LineTestCase, journal: Journal, row: SwapRecord) -> None:
        self.id = row.id
        #: What the block job may move, bytes/s, and each limit that was set.
        self.limit = row.granted or row.bandwidth
        self.told: list[int] = []
        self.sharing = Sharing(journal, host.budget, row.id, lambda: host.now)

    def look(self) -> None:
        """As its runner does every few seconds."""
        self.sharing.look(lambda: self.limit, self.set)

    def set(self, bandwidth: BytesPerSecond) -> None:
        self.limit = int(bandwidth)
        self.told.append(self.limit)


class LineTestCase(testtools.TestCase):
    """Waiting moves a clock; ``meanwhile`` is done at each second of it, until it is empty."""

    budget = Budget(Limit(1))

    def setUp(self) -> None:
        super().setUp()
        path = Path(self.useFixture(fixtures.TempDir()).path) / 'journal.sqlite'
        self.journal, self.other = Journal(path), Journal(path)
        self.addCleanup(self.journal.close)
        self.addCleanup(self.other.close)
        self.now = 100.0
        self.control = Control()
        self.woken = 0
        self.told: list[str] = []
        self.meanwhile: list[Callable[[], object]] = []
        self.copies: list[Copy] = []
        stand_in = types.SimpleNamespace(SimpleQueue=lambda: self, Empty=queue.Empty)
        patcher = mock.patch.object(turns, 'queue', stand_in)
        patcher.start()
        self.addCleanup(patcher.stop)

    def put(self, _item: None) -> None:
        """Whoever waits is woken."""
        self.woken += 1

    def get(self, timeout: float) -> None:
        """A second of waiting."""
        self.now += timeout
        assert self.now < 1_000_000, 'a wait without an end'
        if self.meanwhile:
            self.meanwhile.pop(0)()
        for copy in self.copies:
            if copy.sharing.is_due():
                copy.look()
        raise queue.Empty

    def turn(self, wait: float = 0.0, journal: Journal | None = None) -> Turn:
        made = Turn(
            journal or self.journal, self.budget, self.control, Seconds(wait), lambda: self.now
        )
        self.addCleanup(made.__exit__)
        return made

    def begin(self, *rows: SwapRecord, wait: float = 0.0) -> tuple[SwapRecord, ...]:
        """Wait for a turn, and take it."""
        with self.turn(wait) as turn:
            while (found := turn.reserve(rows)) is None:
                turn.wait(self.told.append)
        return found

    def copy(self, row: SwapRecord, journal: Journal | None = None) -> Copy:
        """Let the copy of a swap that has begun follow what the others do."""
        made = Copy(self, journal or self.journal, row)
        self.copies.append(made)
        self.journal.advance(row.id, SwapState.PREPARED)
        self.journal.advance(row.id, SwapState.COPYING)
        return made

    def end(self, row: SwapRecord | Copy) -> None:
        """Let a swap end."""
        self.copies = [one for one in self.copies if one.id != row.id]
        if self.journal.record(row.id).state is SwapState.COPYING:
            self.journal.advance(row.id, SwapState.CANCELLING)
        self.journal.advance(row.id, SwapState.REVERTED)

    def pass_time(self, seconds: float = float(EVERY)) -> None:
        """Let all copies look once."""
        self.now += seconds
        for copy in self.copies:
            copy.look()

    def given(self) -> int:
        """What the journal grants to all together."""
        return sum(row.granted for row in self.journal.records(active_only=True))
