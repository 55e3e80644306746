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
"""The rules of one block job beside a small libvirt whose events get lost, late and doubled.

Hypothesis picks what happens next: libvirt goes on, we ask, another tool asks, an event is told
now, told twice, told much later, or never, a call is answered or is not, the guest dies, libvirtd
comes back, we look. Whatever the order, the machine may never say what is not so.
"""

from __future__ import annotations

import contextlib
import io
import unittest
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar
from unittest import mock

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from blockmirror_driver import exception
from blockmirror_driver.mirror import events as ev
from blockmirror_driver.mirror import machine
from blockmirror_driver.mirror.machine import Action, MirrorModel
from blockmirror_driver.mirror.states import RUNNING, TERMINAL, Cause, JobState
from blockmirror_driver.model import Seconds
from blockmirror_driver.xml.domain import MirrorState, Readiness
from tests.unit.mirror.pieces import DESTINATION, job

_INDEX = st.integers(0, 7)
_OLD = st.sampled_from((ev.CompletedEvent(), ev.FailedEvent(), ev.CanceledEvent()))


class BlockJobMachine(RuleBasedStateMachine):
    """``model`` is what is said; all else is what is so."""

    def __init__(self) -> None:
        super().__init__()
        self.model = MirrorModel()
        self.now = 0.0
        self.disk = 'source'
        self.runs = False
        self.ready = False
        self.asked: Readiness | None = None
        self.alive = True
        self.waiting: list[ev.MirrorEvent] = []
        #: What we asked for and libvirt has not got yet; a call that hangs may arrive any time.
        self.on_the_way: list[Readiness] = []
        self.hidden_switch = False
        self.first_end: JobState | None = None

    # -- saying and doing ----------------------------------------------------------------

    def step(self, event: ev.MirrorEvent) -> None:
        ended = self.model.state in TERMINAL
        self.model, actions = machine.step(self.model, event)
        assert not (ended and actions)
        for action in actions:
            if action is Action.READ:
                self.look()
            elif action is Action.PIVOT:
                self.on_the_way.append('pivot')
            elif action is Action.ABORT:
                self.on_the_way.append('abort')

    def look(self) -> None:
        self.now += 0.7
        mirror = None
        if self.runs:
            ready: Readiness = self.asked or ('yes' if self.ready else 'no')
            mirror = MirrorState(DESTINATION, 'copy', ready, 'raw')
        reading = ev.Reading(
            at=Seconds(self.now),
            guest='running' if self.alive else 'gone',
            live_source='destination' if self.disk == 'destination' else 'source',
            mirror=mirror if self.alive else None,
            job=job() if self.runs and self.alive else None,
        )
        self.step(reading)

    def ends(self, told: ev.MirrorEvent) -> None:
        self.runs, self.ready, self.asked = False, False, None
        self.waiting.append(told)

    # -- what happens --------------------------------------------------------------------

    @initialize(answered=st.booleans(), ready=st.booleans(), old=st.lists(_OLD, max_size=2))
    def start(self, answered: bool, ready: bool, old: list[ev.MirrorEvent]) -> None:
        self.runs, self.ready = True, ready
        # An earlier job's, still on their way.
        self.waiting += old
        self.step(ev.Accepted() if answered else ev.Asked())

    @rule()
    def we_look(self) -> None:
        if self.model.state not in TERMINAL:
            self.look()

    @precondition(lambda self: self.runs and not self.ready)
    @rule()
    def both_sides_are_the_same(self) -> None:
        self.ready = True
        self.waiting.append(ev.ReadyEvent())

    @precondition(lambda self: self.runs and self.asked is None)
    @rule()
    def the_job_fails(self) -> None:
        self.ends(ev.FailedEvent('no space'))

    @precondition(lambda self: self.runs and self.asked == 'pivot')
    @rule(succeeds=st.booleans())
    def the_pivot_ends(self, succeeds: bool) -> None:
        if succeeds:
            self.disk = 'destination'
        self.ends(ev.CompletedEvent() if succeeds else ev.FailedEvent())

    @precondition(lambda self: self.runs and self.asked == 'abort')
    @rule()
    def the_abort_ends(self) -> None:
        self.ends(ev.CanceledEvent())

    @precondition(lambda self: self.on_the_way)
    @rule(index=_INDEX, answer=st.sampled_from(('ok', 'refused', 'nothing')))
    def a_request_arrives(self, index: int, answer: str) -> None:
        wanted = self.on_the_way.pop(index % len(self.on_the_way))
        possible = self.runs and self.asked is None and (wanted == 'abort' or self.ready)
        if answer == 'refused' or not possible:
            refused = ev.PivotRefused('no') if wanted == 'pivot' else ev.AbortRefused()
            self.step(refused)
            return
        self.asked = wanted
        if answer == 'ok' and wanted == 'pivot':
            self.step(ev.Answered())

    @precondition(lambda self: self.runs and self.asked is None)
    @rule(wanted=st.sampled_from(('pivot', 'abort')))
    def another_tool_asks(self, wanted: Readiness) -> None:
        if wanted == 'abort' or self.ready:
            self.asked = wanted
            self.hidden_switch = self.hidden_switch or wanted == 'pivot'

    @precondition(lambda self: self.runs and self.asked == 'pivot')
    @rule()
    def the_guest_dies_right_after_the_switch(self) -> None:
        self.disk = 'destination'
        self.the_guest_dies()

    @precondition(lambda self: self.alive)
    @rule()
    def the_guest_dies(self) -> None:
        self.alive = False
        self.runs, self.ready, self.asked = False, False, None
        self.waiting.append(ev.GuestStopped())

    @rule()
    def libvirtd_comes_back(self) -> None:
        """Nothing that was on its way arrives any more, and nothing that waited is told."""
        self.on_the_way.clear()
        self.waiting.clear()
        self.step(ev.Reconnected(generation=2))

    # -- what is told of it --------------------------------------------------------------

    @precondition(lambda self: self.waiting)
    @rule(index=_INDEX)
    def an_event_is_told(self, index: int) -> None:
        self.step(self.waiting.pop(index % len(self.waiting)))

    @precondition(lambda self: self.waiting)
    @rule(index=_INDEX)
    def an_event_is_told_and_will_be_again(self, index: int) -> None:
        self.step(self.waiting[index % len(self.waiting)])

    @precondition(lambda self: self.waiting)
    @rule(index=_INDEX)
    def an_event_is_lost(self, index: int) -> None:
        self.waiting.pop(index % len(self.waiting))

    # -- what we ask ---------------------------------------------------------------------

    @precondition(lambda self: self.model.state is JobState.READY)
    @rule()
    def we_pivot_and_are_answered(self) -> None:
        self.we_ask_for_the_pivot(False)
        self.a_request_arrives(len(self.on_the_way) - 1, 'ok')

    @rule(look=st.booleans())
    def we_ask_for_the_pivot(self, look: bool) -> None:
        before = self.model
        try:
            self.step(ev.PivotRequested())
        except exception.WrongState:
            assert before.state not in (JobState.READY, JobState.PIVOTING)
            assert self.model == before
        if look:
            self.we_look()

    @rule()
    def we_ask_for_the_end(self) -> None:
        before = self.model
        try:
            self.step(ev.AbortRequested())
        except exception.WrongState:
            assert before.state not in RUNNING
            assert self.model == before

    # -- what must hold ------------------------------------------------------------------

    @invariant()
    def an_end_stays(self) -> None:
        if self.first_end is None and self.model.state in TERMINAL:
            self.first_end = self.model.state
        assert self.first_end in (None, self.model.state)

    @invariant()
    def success_is_success(self) -> None:
        if self.model.state is JobState.PIVOTED:
            assert self.disk == 'destination'

    @invariant()
    def nobody_is_sent_back_who_has_switched(self) -> None:
        """FAILED and ABORTED say that the guest is on its source."""
        if self.model.state not in (JobState.FAILED, JobState.ABORTED):
            return
        assert not self.runs
        # A switch by another tool of which nothing came through, and then the guest died: there
        # the swap reads the stored XML.
        unseen = self.model.cause is Cause.GUEST_GONE and self.hidden_switch
        assert self.disk == 'source' or unseen

    @invariant()
    def a_switch_that_may_still_come_is_not_forgotten(self) -> None:
        """As long as our pivot may arrive, or is under way, a dead guest is LOST, not FAILED."""
        ours = self.asked == 'pivot' and not self.hidden_switch
        if self.alive and ours and self.model.state not in TERMINAL:
            assert self.model.undecidable


TestBlockJob = BlockJobMachine.TestCase
TestBlockJob.settings = settings(max_examples=500, stateful_step_count=30, deadline=None)


def _guest_gone(model: MirrorModel) -> machine.Step:
    return machine._end(model, JobState.FAILED, Cause.GUEST_GONE)


def _believes(state: JobState) -> Callable[[MirrorModel, ev.MirrorEvent], machine.Step]:
    return lambda model, _event: machine._end(model, state, Cause.NONE)


def _forgets(model: MirrorModel) -> machine.Step:
    if model.state is JobState.PIVOTING:
        return replace(model, state=JobState.READY, may_have_switched=False), ()
    return model, ()


class BrokenRulesTest(unittest.TestCase):
    """What it is all for: a rule that is broken on purpose is noticed."""

    BROKEN: ClassVar[dict[str, Any]] = {
        'a dead guest is always FAILED': mock.patch.object(machine, '_guest_gone', _guest_gone),
        'COMPLETED is believed': mock.patch.dict(
            machine._RULES, {ev.CompletedEvent: _believes(JobState.PIVOTED)}
        ),
        'FAILED is believed': mock.patch.dict(
            machine._RULES, {ev.FailedEvent: _believes(JobState.FAILED)}
        ),
        'ends are left': mock.patch.object(machine, 'TERMINAL', frozenset()),
        'a pivot on its way is forgotten': mock.patch.object(machine, '_still_there', _forgets),
    }

    def test_each(self) -> None:
        for name, broken in self.BROKEN.items():
            with self.subTest(name), broken:
                case: Any = BlockJobMachine.TestCase('runTest')
                case.settings = settings(
                    TestBlockJob.settings,
                    phases=(Phase.generate,),
                    database=None,
                    max_examples=4000,
                )
                result = unittest.TestResult()
                with contextlib.redirect_stdout(io.StringIO()):
                    case.run(result)
                self.assertTrue(result.failures or result.errors)
