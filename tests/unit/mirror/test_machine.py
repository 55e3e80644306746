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
"""Every state with every event, and what no sequence of events may ever do."""

from __future__ import annotations

import unittest
from collections.abc import Iterator
from dataclasses import replace

from blockmirror_driver import exception
from blockmirror_driver.mirror import events as ev
from blockmirror_driver.mirror.events import Evidence, MirrorEvent
from blockmirror_driver.mirror.machine import Action, MirrorModel, Told, step
from blockmirror_driver.mirror.states import TERMINAL, TRANSITIONS, Cause, JobState
from tests.unit.mirror.pieces import model_in, reading

S = JobState

#: What each event makes of the plainest model in each living state: the next state,
#: then what is to be done; ``-`` is nothing at all, ``refused`` is WrongState.
TABLE = """
event         NONE          COPYING    STALLED    READY          PIVOTING   ABORTING
Accepted      COPYING:soon  refused    refused    refused        refused    refused
Asked         NONE:soon     refused    refused    refused        refused    refused
Ready         -             READY      READY      -              -          -
Completed     told          told:read  told:read  told:read      told:read  told:read
Failed        told          told:read  told:read  told:read      told:read  told:read
Canceled      told          told:read  told:read  told:read      told:read  told:read
GuestStopped  told          told:read  told:read  told:read      told:read  told:read
Still         -             STALLED    -          -              -          -
Moving        -             -          COPYING    -              -          -
PivotAsked    refused       refused    refused    PIVOTING:pivot -          refused
Answered      -             -          -          -              told:soon  -
PivotRefused  -             -          -          -              told:read  -
AbortAsked    refused       ABORTING:abort ABORTING:abort ABORTING:abort refused ABORTING:abort
AbortRefused  -             -          -          -              -          told:soon
Reconnected   told          told:read  told:read  told:read      told:read  told:read
Lost          -             -          -          -              -          -
guest-gone    FAILED        FAILED     FAILED     FAILED         LOST       FAILED
foreign       LOST          LOST       LOST       LOST           LOST       LOST
copying       COPYING       -          -          -              -          -
ready         READY         READY      READY      -              -          -
pivoting      PIVOTING:soon PIVOTING:soon PIVOTING:soon PIVOTING:soon -     PIVOTING:soon
aborting      ABORTING      ABORTING   ABORTING   ABORTING       ABORTING   -
switched      PIVOTED       PIVOTED    PIVOTED    PIVOTED        PIVOTED    PIVOTED
ended         LOST          told:soon  told:soon  told:soon      told:soon  told:soon
changed       LOST          LOST       LOST       LOST           LOST       LOST
torn          -:soon        -:soon     -:soon     -:soon         -:soon     -:soon
"""

EVENTS: dict[str, MirrorEvent] = {
    'Accepted': ev.Accepted(),
    'Asked': ev.Asked(),
    'Ready': ev.ReadyEvent(),
    'Completed': ev.CompletedEvent(),
    'Failed': ev.FailedEvent(),
    'Canceled': ev.CanceledEvent(),
    'GuestStopped': ev.GuestStopped(),
    'Still': ev.Tick(stalled=True),
    'Moving': ev.Tick(stalled=False),
    'PivotAsked': ev.PivotRequested(),
    'Answered': ev.Answered(),
    'PivotRefused': ev.PivotRefused('not ready'),
    'AbortAsked': ev.AbortRequested(),
    'AbortRefused': ev.AbortRefused(),
    'Reconnected': ev.Reconnected(2),
    'Lost': ev.ConnectionLost('end of file'),
    **{evidence.value: reading(evidence) for evidence in Evidence},
}

ACTIONS = {
    '': (),
    'read': (Action.READ,),
    'soon': (Action.READ_SOON,),
    'pivot': (Action.PIVOT,),
    'abort': (Action.ABORT,),
}


def table() -> dict[tuple[JobState, str], str]:
    header, *rows = (line.split() for line in TABLE.strip().splitlines())
    return {
        (JobState[state], row[0]): cell
        for row in rows
        for state, cell in zip(header[1:], row[1:], strict=True)
    }


class EveryPair(unittest.TestCase):
    """The table above is complete, and true."""

    def test_the_table_names_every_pair(self) -> None:
        """No pair of a living state and an event is left out."""
        wanted = {(state, name) for state in S if state not in TERMINAL for name in EVENTS}
        self.assertEqual(set(table()), wanted)

    def test_every_kind_of_event_is_in_the_table(self) -> None:
        """A new event can't be forgotten here."""
        kinds = {type(event) for event in EVENTS.values()}
        self.assertEqual(kinds, set(ev.MirrorEvent.__args__))

    def test_living_states(self) -> None:
        """Each living state answers each event as the table says."""
        for (state, name), cell in table().items():
            with self.subTest(state=state, event=name):
                self.check(state, EVENTS[name], cell)

    def check(self, state: JobState, event: MirrorEvent, cell: str) -> None:
        model = model_in(state)
        if cell == 'refused':
            self.assertRaises(exception.WrongState, step, model, event)
            return
        change, _, action = cell.partition(':')
        after, actions = step(model, event)
        self.assertEqual(actions, ACTIONS[action])
        if change == '-':
            self.assertEqual(after, model)
        elif change == 'told':
            self.assertIs(after.state, state)
            self.assertNotEqual(after, model)
        else:
            self.assertIs(after.state, JobState[change])

    def test_final_states(self) -> None:
        """Nothing leaves a final state; starting or pivoting there is refused."""
        refused = ('Accepted', 'Asked', 'PivotAsked')
        for state in TERMINAL:
            for name, event in EVENTS.items():
                with self.subTest(state=state, event=name):
                    model = MirrorModel(state=state)
                    if name in refused:
                        self.assertRaises(exception.WrongState, step, model, event)
                    else:
                        self.assertEqual(step(model, event), (model, ()))


def moments() -> Iterator[MirrorEvent]:
    for name, event in EVENTS.items():
        yield event
        if name == Evidence.ENDED.value:
            # Long enough after the first for the grace to be over.
            yield reading(Evidence.ENDED, at=2.0)


class Explored:
    """Every model that any sequence of events leads to, and every step between them."""

    def __init__(self) -> None:
        # Taking up what another process left may begin with a pivot already asked for.
        todo = [MirrorModel(), MirrorModel(may_have_switched=True)]
        self.models = set(todo)
        self.steps: list[tuple[MirrorModel, MirrorEvent, MirrorModel, tuple[Action, ...]]] = []
        while todo:
            model = todo.pop()
            for event in moments():
                try:
                    after, actions = step(model, event)
                except exception.WrongState:
                    continue
                self.steps.append((model, event, after, actions))
                if after not in self.models:
                    self.models.add(after)
                    todo.append(after)


EXPLORED = Explored()


def shows(event: MirrorEvent, *evidence: Evidence) -> bool:
    return isinstance(event, ev.Reading) and event.evidence in evidence


class NoSequenceOfEvents(unittest.TestCase):
    """Checked on every step that is reachable at all, not on samples."""

    def test_there_is_something_to_check(self) -> None:
        """The exploration went through every state."""
        self.assertEqual({model.state for model in EXPLORED.models}, set(JobState))

    def test_makes_a_transition_that_is_not_in_the_set(self) -> None:
        """TRANSITIONS is exactly what happens: none is missing, none is for show."""
        made = {(a.state, b.state) for a, _e, b, _x in EXPLORED.steps if a.state != b.state}
        self.assertEqual(made, set(TRANSITIONS))

    def test_reports_a_pivot_without_evidence(self) -> None:
        """Only a reading of the destination as live source makes PIVOTED."""
        for before, event, after, _actions in EXPLORED.steps:
            if after.state is S.PIVOTED and before.state is not S.PIVOTED:
                self.assertTrue(shows(event, Evidence.SWITCHED), (before, event))

    def test_reports_ready_by_a_cursor(self) -> None:
        """READY comes by event or reading; out of PIVOTING only when the job is there."""
        for before, event, after, _actions in EXPLORED.steps:
            if after.state is S.READY and before.state is not S.READY:
                told = isinstance(event, ev.ReadyEvent)
                back = before.state is S.PIVOTING and shows(event, Evidence.COPYING)
                self.assertTrue(told or back or shows(event, Evidence.READY), (before, event))

    def test_calls_a_guest_safe_that_may_have_switched(self) -> None:
        """A guest that is gone after a pivot may have been asked for is never FAILED."""
        for before, _event, after, _actions in EXPLORED.steps:
            if before.undecidable and after.cause is Cause.GUEST_GONE != before.cause:
                self.assertIs(after.state, S.LOST)

    def test_forgets_that_a_pivot_was_asked_for(self) -> None:
        """Only a certain refusal, seen with the job still there, clears it."""
        for before, event, after, _actions in EXPLORED.steps:
            if before.may_have_switched and not after.may_have_switched:
                self.assertTrue(before.refused, (before, event))
                self.assertTrue(shows(event, Evidence.READY, Evidence.COPYING))

    def test_asks_for_a_pivot_that_nobody_wanted(self) -> None:
        """A pivot is asked for once per request, and only when READY."""
        for before, event, _after, actions in EXPLORED.steps:
            if Action.PIVOT in actions:
                self.assertIs(before.state, S.READY)
                self.assertIsInstance(event, ev.PivotRequested)

    def test_aborts_what_nobody_wanted_or_what_pivots(self) -> None:
        """An abort goes out only when we were asked for it, and never into a pivot."""
        for _before, _event, after, actions in EXPLORED.steps:
            if Action.ABORT in actions:
                self.assertTrue(after.abort_asked)
                self.assertIs(after.state, S.ABORTING)

    def test_touches_a_foreign_job(self) -> None:
        """A reading of somebody else's job asks for nothing."""
        for _before, event, _after, actions in EXPLORED.steps:
            if shows(event, Evidence.FOREIGN, Evidence.CHANGED):
                self.assertEqual(actions, ())

    def test_confirms_a_cancellation_without_the_event(self) -> None:
        """CANCELED, on which "the copy is consistent" rests, needs CANCELED to be told."""
        for before, _event, after, _actions in EXPLORED.steps:
            if after.cause is Cause.CANCELED != before.cause:
                self.assertIs(before.told, Told.CANCELED)
                self.assertTrue(before.abort_asked)


class HowAJobEnded(unittest.TestCase):
    """The reading says that it ended, the event says how."""

    def ended(self, model: MirrorModel, at: float = 0.0) -> MirrorModel:
        return step(model, reading(Evidence.ENDED, at))[0]

    def test_failed(self) -> None:
        """FAILED told and the source live: FAILED, in each state that has a job."""
        for state in (S.COPYING, S.STALLED, S.READY, S.PIVOTING, S.ABORTING):
            after = self.ended(replace(model_in(state), told=Told.FAILED))
            self.assertEqual((after.state, after.cause), (S.FAILED, Cause.JOB_FAILED))

    def test_cancelled_by_us(self) -> None:
        """CANCELED told after our abort: confirmed."""
        after = self.ended(replace(model_in(S.ABORTING), told=Told.CANCELED))
        self.assertEqual((after.state, after.cause), (S.ABORTED, Cause.CANCELED))

    def test_cancelled_by_another_tool(self) -> None:
        """CANCELED told without our abort."""
        after = self.ended(replace(model_in(S.READY), told=Told.CANCELED))
        self.assertEqual((after.state, after.cause), (S.ABORTED, Cause.CANCELED_ELSEWHERE))

    def test_no_event_needs_the_grace(self) -> None:
        """The event may still be on its way; after the grace the job is LOST."""
        waiting = self.ended(model_in(S.COPYING), at=10.0)
        self.assertIs(waiting.state, S.COPYING)
        self.assertIs(self.ended(waiting, at=10.9).state, S.COPYING)
        after = self.ended(waiting, at=11.0)
        self.assertEqual((after.state, after.cause), (S.LOST, Cause.VANISHED))

    def test_no_event_after_our_abort(self) -> None:
        """The job is gone as we wanted, but the end is not confirmed."""
        waiting = self.ended(model_in(S.ABORTING), at=10.0)
        after = self.ended(waiting, at=12.0)
        self.assertEqual((after.state, after.cause), (S.ABORTED, Cause.VANISHED))

    def test_an_event_of_another_job_is_forgotten(self) -> None:
        """FAILED was told, but our job is there: it was about an earlier one."""
        for told in Told:
            told_model = replace(model_in(S.COPYING), told=told, gone_since=None)
            after, _ = step(told_model, reading(Evidence.COPYING))
            self.assertEqual(after, model_in(S.COPYING))

    def test_completed_but_on_the_source(self) -> None:
        """COMPLETED alone is no success: the live source decides."""
        waiting = self.ended(replace(model_in(S.PIVOTING), told=Told.COMPLETED), at=10.0)
        self.assertIs(waiting.state, S.PIVOTING)
        self.assertIs(self.ended(waiting, at=12.0).state, S.LOST)

    def test_another_tool_pivoted(self) -> None:
        """COMPLETED before our pivot was asked for, and the destination is live."""
        told, actions = step(model_in(S.READY), ev.CompletedEvent())
        self.assertEqual(actions, (Action.READ,))
        self.assertIs(step(told, reading(Evidence.SWITCHED))[0].state, S.PIVOTED)


class AGuestThatStops(unittest.TestCase):
    """No job event comes then."""

    def test_stopped_and_started_again(self) -> None:
        """It runs again without a job of ours before we looked: not a vanished job."""
        stopped = replace(model_in(S.COPYING), stopped=True)
        after, _ = step(stopped, reading(Evidence.ENDED))
        self.assertEqual((after.state, after.cause), (S.FAILED, Cause.GUEST_GONE))

    def test_stopped_and_started_again_while_pivoting(self) -> None:
        """Its stored XML decided which disk it runs on now, and where it wrote before."""
        stopped = replace(model_in(S.PIVOTING), stopped=True)
        after, _ = step(stopped, reading(Evidence.ENDED))
        self.assertEqual((after.state, after.cause), (S.LOST, Cause.GUEST_GONE))

    def test_gone_after_a_pivot_that_was_refused(self) -> None:
        """A certain refusal makes a guest that is gone decidable again."""
        refused, _ = step(model_in(S.PIVOTING), ev.PivotRefused('not ready yet'))
        ready, _ = step(refused, reading(Evidence.READY))
        self.assertEqual((ready.state, ready.cause), (S.READY, Cause.PIVOT_REFUSED))
        after, _ = step(ready, reading(Evidence.GUEST_GONE))
        self.assertIs(after.state, S.FAILED)

    def test_gone_after_a_pivot_whose_answer_was_lost(self) -> None:
        """The job was seen READY since, but the request might still have come through."""
        again, _ = step(model_in(S.PIVOTING), ev.Reconnected(2))
        ready, _ = step(again, reading(Evidence.READY))
        self.assertIs(ready.state, S.READY)
        after, _ = step(ready, reading(Evidence.GUEST_GONE))
        self.assertIs(after.state, S.LOST)

    def test_gone_after_completed_was_told(self) -> None:
        """Another tool's pivot counts like ours."""
        told, _ = step(model_in(S.READY), ev.CompletedEvent())
        self.assertIs(step(told, reading(Evidence.GUEST_GONE))[0].state, S.LOST)


class RequestsThatGetLost(unittest.TestCase):
    """The connection breaks while a call is under way."""

    def test_an_unanswered_pivot_stays_open(self) -> None:
        """READY does not mean refused while the request may still be under way."""
        after, actions = step(model_in(S.PIVOTING), reading(Evidence.READY))
        self.assertEqual((after.state, actions), (S.PIVOTING, ()))

    def test_an_abort_is_repeated_after_a_reconnect(self) -> None:
        """Once, when the job is seen to be there and not ending."""
        again, _ = step(model_in(S.ABORTING), ev.Reconnected(2))
        after, actions = step(again, reading(Evidence.COPYING))
        self.assertEqual((after.state, actions), (S.ABORTING, (Action.ABORT,)))
        self.assertEqual(step(after, reading(Evidence.COPYING))[1], ())

    def test_an_abort_that_arrived_is_not_repeated(self) -> None:
        """The job is ending already."""
        again, _ = step(model_in(S.ABORTING), ev.Reconnected(2))
        after, actions = step(again, reading(Evidence.ABORTING))
        self.assertEqual(actions, ())
        self.assertEqual(step(after, reading(Evidence.COPYING))[1], ())

    def test_an_unanswered_start_waits(self) -> None:
        """As long as the call may be under way, no job means nothing."""
        asked, _ = step(MirrorModel(), ev.Asked())
        for at in (0.0, 5.0, 50.0):
            asked, actions = step(asked, reading(Evidence.ENDED, at))
            self.assertEqual((asked.state, actions), (S.NONE, (Action.READ_SOON,)))
        answered, _ = step(asked, ev.Reconnected(2))
        self.assertIs(step(answered, reading(Evidence.ENDED, 51.0))[0].state, S.LOST)

    def test_an_unanswered_start_that_started(self) -> None:
        """The evidence is taken for the answer."""
        asked, _ = step(MirrorModel(), ev.Asked())
        self.assertIs(step(asked, reading(Evidence.COPYING))[0].state, S.COPYING)
