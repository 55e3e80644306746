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
"""A small world for a swap: a guest, a clock, and a journal that may fail.

>>> world = World(tmp)
>>> world.guest.pivots = ['refuse', 'switch']       # what comes of the next pivots
>>> outcome = world.run()
>>> world.states()                                  # what the journal was told
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import fixtures
import testtools
from oslo_config import cfg

from blockmirror_driver import conf as bm_conf
from blockmirror_driver import exception
from blockmirror_driver.mirror.options import CopyOptions
from blockmirror_driver.model import RbdSource, Source
from blockmirror_driver.swap.database import Database
from blockmirror_driver.swap.journal import Journal
from blockmirror_driver.swap.record import Outcome, SwapEvent, SwapRecord
from blockmirror_driver.swap.request import SwapRequest
from blockmirror_driver.swap.service import SwapService
from blockmirror_driver.swap.states import SwapState
from blockmirror_driver.virt.secrets import SecretLifetime
from tests.unit.mirror.pieces import Clock
from tests.unit.swap.guest import DESTINATION, DEV, SOURCE, Guest, SwapHypervisor

ALMOST_FOREVER = 86400.0 * 30


class FailingDatabase(Database):
    """A file whose disk is full while ``full``."""

    full = False

    @contextlib.contextmanager
    def write(self, *, durable: bool = True) -> Iterator[sqlite3.Connection]:
        if self.full:
            raise exception.JournalUnusable(f'journal {self.path}: disk is full')
        with super().write(durable=durable) as db:
            yield db


class FailingJournal(Journal):
    """A journal whose disk is full from the writing of one state on (or at it, once).

    ``told`` is each state that was written, ``forbidden`` each that the table refused.
    ``at`` runs things right after a state was written.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.db = FailingDatabase(self.path)
        self._db = self.db
        self.full_from: SwapState | None = None
        self.full_at: SwapState | None = None
        self.forbidden: list[str] = []
        self.at: dict[SwapState, Callable[[], object]] = {}

    def advance(self, swap_id: str, state: SwapState, detail: str = '', **kwargs: Any) -> None:
        if state is self.full_from:
            self.db.full = True
        if state is self.full_at:
            self.full_at = None
            raise exception.JournalUnusable('disk is full')
        try:
            super().advance(swap_id, state, detail, **kwargs)
        except exception.WrongState as error:
            self.forbidden.append(str(error))
            raise
        if state in self.at:
            self.at.pop(state)()


class World:
    """One host with one guest, and a service to swap its disk."""

    def __init__(self, directory: str | Path) -> None:
        self.clock = Clock()
        self.plans: list[tuple[float, Callable[[], object]]] = []
        self.hypervisor = SwapHypervisor(self)
        self.guest = self.add(Guest(self))
        self.conf = cfg.ConfigOpts()
        bm_conf.register_opts(self.conf)
        self.conf([], project='blockmirror-unit', default_config_files=[])
        self.journal = FailingJournal(Path(directory) / 'journal.sqlite')
        self.service = self.new_service()
        self.events: list[SwapEvent] = []
        self.request = SwapRequest('guest', DEV, DESTINATION, CopyOptions())
        #: What the destination cites once its secret is defined, for jobs found by recovery.
        self.prepared: Source = DESTINATION.source

    def add(self, guest: Guest) -> Guest:
        self.hypervisor.add(guest)
        return guest

    def new_service(self) -> SwapService:
        """What another process would work with; it runs as if it were this one."""
        return SwapService(self.hypervisor, self.journal, self.conf, clock=self.clock)

    # Time

    def later(self, seconds: float, what: Callable[[], object]) -> None:
        """Do something when the clock has come so far from now."""
        self.plans.append((self.clock.now + seconds, what))

    def pass_time(self, seconds: float) -> None:
        """Move the clock to the next planned thing, or to the end of the wait."""
        end = self.clock.now + seconds
        due = [plan for plan in self.plans if plan[0] <= end]
        if not due:
            self.clock.now = end
            assert end < ALMOST_FOREVER, 'a wait without an end'
            return
        first = min(due, key=lambda plan: plan[0])
        self.plans.remove(first)
        self.clock.now = max(self.clock.now, first[0])
        first[1]()

    # A swap

    def run(self, **changes: Any) -> Outcome:
        """Run a swap; ``changes`` go into the request, unknown names into its options."""
        names = {'domain', 'dev', 'destination', 'options', 'ending', 'hold'}
        options = {name: changes.pop(name) for name in list(changes) if name not in names}
        request = replace(self.request, **changes)
        self.request = replace(request, options=replace(request.options, **options))
        try:
            return self.service.run(self.request, observer=self.events.append)
        finally:
            self.plans.clear()

    @property
    def id(self) -> str:
        """The id of the last swap."""
        return self.record().id

    def record(self) -> SwapRecord:
        """The last swap's row."""
        return self.journal.records()[-1]

    def states(self) -> list[str]:
        """What the last swap's journal was told, without repetitions."""
        told = [step.state.value for step in self.journal.steps(self.id)]
        return [state for n, state in enumerate(told) if n == 0 or told[n - 1] != state]

    def details(self) -> str:
        return '\n'.join(step.detail for step in self.journal.steps(self.id))


class WorldTestCase(testtools.TestCase):
    """A test in a world of its own; nothing may be left listening or forbidden."""

    def setUp(self) -> None:
        super().setUp()
        self.world = World(self.useFixture(fixtures.TempDir()).path)
        self.guest = self.world.guest
        self.hypervisor = self.world.hypervisor
        self.journal = self.world.journal
        self.secrets = self.world.hypervisor.fake_secrets
        self.addCleanup(self.journal.close)

    def check(self) -> None:
        """What holds after each swap, whatever came of it."""
        self.assertEqual([], self.journal.forbidden)
        self.assertEqual(0, self.hypervisor.subscribed)

    def assert_states(self, *states: str) -> None:
        self.assertEqual(['planned', 'prepared', *states], self.world.states())
        self.check()

    def assert_clean_on_source(self) -> None:
        """The guest is on the source, and nothing of ours is left."""
        self.check()
        self.assertEqual(SOURCE, self.guest.live_source)
        self.assertIsNone(self.guest.mirrored)
        self.assertEqual(set(), self.secrets.kept)
        self.assertIsNone(self.guest.marked)

    def assert_on_destination(self) -> None:
        """The guest is on the destination, live and stored, and nothing else is left."""
        self.check()
        for source in (self.guest.live_source, self.guest.stored_source):
            assert isinstance(source, RbdSource)
            self.assertEqual('new', source.image)
        self.assertIsNone(self.guest.mirrored)
        self.assertEqual({(self.world.id, SecretLifetime.DISK)}, self.secrets.kept)
        self.assertIsNone(self.guest.marked)
