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
"""The rules of one block job as a pure function: no clock, no I/O, no libvirt.

:func:`step` takes what is known (:class:`MirrorModel`) and one event, and gives what is
known then and what is to be done. Three rules stand above all:

* Success needs positive evidence. Only a reading whose live source is the destination,
  without a ``<mirror>``, makes :attr:`JobState.PIVOTED`.
* An event that ends the job is hearsay until a reading agrees; it then says *how* the
  job ended, which no reading can.
* What does not fit is ignored when it came from outside (it may be late, doubled, or
  another job's), and refused with :class:`WrongState` when it is a request of ours.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

from blockmirror_driver import exception
from blockmirror_driver.mirror import events as ev
from blockmirror_driver.mirror.events import Evidence, MirrorEvent
from blockmirror_driver.mirror.states import RUNNING, TERMINAL, Cause, JobState
from blockmirror_driver.model import Seconds

#: How long a job must be gone before we do without the event that says how it ended:
#: the event and our reading travel on different threads.
GRACE = Seconds(1.0)


class Action(enum.Enum):
    """What the engine is to do after a step."""

    #: Take a reading at once.
    READ = 'read'
    #: Take a reading shortly.
    READ_SOON = 'read-soon'
    #: Ask the hypervisor for the pivot.
    PIVOT = 'pivot'
    #: Ask the hypervisor for the end of the job.
    ABORT = 'abort'


class Told(enum.Enum):
    """The last event that ended a job on the disk, not yet confirmed by a reading."""

    NOTHING = ''
    COMPLETED = 'completed'
    FAILED = 'failed'
    CANCELED = 'canceled'


@dataclass(frozen=True, slots=True)
class MirrorModel:
    """What is known about the job.

    ``told`` and ``stopped`` are hearsay that waits for a reading. ``asked``: a start went
    out and was not answered. ``answered``: no call of ours can still be under way.
    ``refused``: why the hypervisor refused the pivot. ``failed``: why it says that the job
    failed. ``may_have_switched``: a pivot was asked for and was not refused for certain.
    ``abort_asked``: by us. ``repeat_abort``: the abort may never have arrived.
    ``gone_since``: when a reading first found no job (seconds).
    """

    state: JobState = JobState.NONE
    cause: Cause = Cause.NONE
    told: Told = Told.NOTHING
    stopped: bool = False
    asked: bool = False
    answered: bool = False
    refused: str = ''
    failed: str = ''
    may_have_switched: bool = False
    abort_asked: bool = False
    repeat_abort: bool = False
    gone_since: Seconds | None = None

    @property
    def undecidable(self) -> bool:
        """Whether the guest may have written to the destination unseen by us."""
        return (
            self.may_have_switched
            or self.told is Told.COMPLETED
            or self.state is JobState.PIVOTING
        )


Step: TypeAlias = tuple[MirrorModel, tuple[Action, ...]]
_READ = (Action.READ,)
_SOON = (Action.READ_SOON,)


def step(model: MirrorModel, event: MirrorEvent) -> Step:
    """Apply one event.

    :raise WrongState: when a request of ours does not fit the state; the model is as it was.
    """
    if model.state in TERMINAL:
        return _after_the_end(model, event)
    return _RULES[type(event)](model, event)


def _after_the_end(model: MirrorModel, event: MirrorEvent) -> Step:
    if isinstance(event, ev.Accepted | ev.Asked | ev.PivotRequested):
        raise _wrong(model, event)
    return model, ()


def _wrong(model: MirrorModel, event: MirrorEvent) -> exception.WrongState:
    words = {
        ev.Accepted: 'a copy can start only once',
        ev.Asked: 'a copy can start only once',
        ev.PivotRequested: 'a pivot needs a copy that is ready',
        ev.AbortRequested: 'there is nothing to abort, or a pivot is under way',
    }
    return exception.WrongState(f'{words[type(event)]}; the copy is {model.state.value}')


def _ignored(model: MirrorModel, _event: MirrorEvent) -> Step:
    return model, ()


def _accepted(model: MirrorModel, event: MirrorEvent) -> Step:
    if model.state is not JobState.NONE:
        raise _wrong(model, event)
    return replace(model, state=JobState.COPYING), _SOON


def _asked(model: MirrorModel, event: MirrorEvent) -> Step:
    if model.state is not JobState.NONE:
        raise _wrong(model, event)
    return replace(model, asked=True), _SOON


def _ready(model: MirrorModel, _event: MirrorEvent) -> Step:
    if model.state in (JobState.COPYING, JobState.STALLED):
        return replace(model, state=JobState.READY), ()
    return model, ()


def _tells(told: Told) -> Callable[[MirrorModel, MirrorEvent], Step]:
    def rule(model: MirrorModel, event: MirrorEvent) -> Step:
        failed = event.reason if isinstance(event, ev.FailedEvent) else ''
        return replace(model, told=told, failed=failed), _read_unless_none(model)

    return rule


def _stopped(model: MirrorModel, _event: MirrorEvent) -> Step:
    return replace(model, stopped=True), _read_unless_none(model)


def _read_unless_none(model: MirrorModel) -> tuple[Action, ...]:
    # Before there is a job of ours nothing on the disk concerns us, unless we asked.
    return _READ if model.asked or model.state is not JobState.NONE else ()


def _tick(model: MirrorModel, event: MirrorEvent) -> Step:
    assert isinstance(event, ev.Tick)
    if model.state is JobState.COPYING and event.stalled:
        return replace(model, state=JobState.STALLED), ()
    if model.state is JobState.STALLED and not event.stalled:
        return replace(model, state=JobState.COPYING), ()
    return model, ()


def _pivot_requested(model: MirrorModel, event: MirrorEvent) -> Step:
    if model.state is JobState.PIVOTING:
        return model, ()
    if model.state is not JobState.READY:
        raise _wrong(model, event)
    model = replace(model, state=JobState.PIVOTING, cause=Cause.NONE, refused='')
    return replace(model, answered=False, may_have_switched=True), (Action.PIVOT,)


def _answered(model: MirrorModel, _event: MirrorEvent) -> Step:
    if model.state is JobState.PIVOTING or model.asked:
        return replace(model, answered=True), _SOON
    return model, ()


def _pivot_refused(model: MirrorModel, event: MirrorEvent) -> Step:
    assert isinstance(event, ev.PivotRefused)
    if model.state is not JobState.PIVOTING:
        return model, ()
    return replace(model, answered=True, refused=event.reason or 'no reason given'), _READ


def _abort_requested(model: MirrorModel, event: MirrorEvent) -> Step:
    if model.state not in RUNNING and model.state is not JobState.ABORTING:
        raise _wrong(model, event)
    # Asked again while ABORTING: the hypervisor ignores what it has, and one may be lost.
    model = replace(model, state=JobState.ABORTING, cause=Cause.NONE, abort_asked=True)
    return replace(model, repeat_abort=False), (Action.ABORT,)


def _abort_refused(model: MirrorModel, _event: MirrorEvent) -> Step:
    if model.state is not JobState.ABORTING or not model.abort_asked:
        return model, ()
    return replace(model, repeat_abort=True), _SOON


def _reconnected(model: MirrorModel, _event: MirrorEvent) -> Step:
    # Whatever call was under way ended with the old connection.
    aborting = model.state is JobState.ABORTING and model.abort_asked
    return replace(model, answered=True, repeat_abort=aborting), _read_unless_none(model)


def _reading(model: MirrorModel, event: MirrorEvent) -> Step:
    assert isinstance(event, ev.Reading)
    evidence = event.evidence
    if evidence is Evidence.TORN:
        return model, _SOON
    if evidence is Evidence.ENDED:
        return _ended(model, event.at)
    if evidence in _FINAL:
        return _end(model, *_FINAL[evidence])
    if evidence is Evidence.GUEST_GONE:
        return _guest_gone(model)
    # Our job is there: whatever was told about an end was about another job.
    model = replace(model, told=Told.NOTHING, stopped=False, gone_since=None)
    return _PRESENT[evidence](model)


#: What a reading makes of any state that is not final.
_FINAL: dict[Evidence, tuple[JobState, Cause]] = {
    Evidence.FOREIGN: (JobState.LOST, Cause.FOREIGN_JOB),
    Evidence.CHANGED: (JobState.LOST, Cause.SOURCE_CHANGED),
    Evidence.SWITCHED: (JobState.PIVOTED, Cause.NONE),
}


def _end(model: MirrorModel, state: JobState, cause: Cause) -> Step:
    return replace(model, state=state, cause=cause), ()


def _guest_gone(model: MirrorModel) -> Step:
    state = JobState.LOST if model.undecidable else JobState.FAILED
    return _end(model, state, Cause.GUEST_GONE)


def _ended(model: MirrorModel, at: Seconds) -> Step:
    """Our job is not there, and the guest is on the source: find how it ended."""
    if model.stopped:
        # It was stopped and started again since: by its stored XML, which we don't read.
        return _guest_gone(model)
    if model.told is Told.FAILED:
        return _end(model, JobState.FAILED, Cause.JOB_FAILED)
    if model.told is Told.CANCELED:
        ours = model.abort_asked
        return _end(model, JobState.ABORTED, Cause.CANCELED if ours else Cause.CANCELED_ELSEWHERE)
    if model.state is JobState.NONE and not model.asked:
        return _end(model, JobState.LOST, Cause.VANISHED)
    return _unexplained(model, at)


def _unexplained(model: MirrorModel, at: Seconds) -> Step:
    since = at if model.gone_since is None else model.gone_since
    waiting = model.state is JobState.NONE and not model.answered
    if waiting or at - since < GRACE:
        return replace(model, gone_since=since), _SOON
    ours = model.state is JobState.ABORTING and model.abort_asked
    return _end(model, JobState.ABORTED if ours else JobState.LOST, Cause.VANISHED)


def _seen_copying(model: MirrorModel) -> Step:
    if model.state is JobState.NONE:
        return replace(model, state=JobState.COPYING), ()
    return _still_there(model)


def _seen_ready(model: MirrorModel) -> Step:
    if model.state in (JobState.NONE, JobState.COPYING, JobState.STALLED):
        return replace(model, state=JobState.READY), ()
    return _still_there(model)


def _still_there(model: MirrorModel) -> Step:
    if model.state is JobState.PIVOTING and model.answered:
        if model.abort_asked:
            # Another tool's pivot came in between, and failed.
            return replace(model, state=JobState.ABORTING), (Action.ABORT,)
        # The request is answered, and the job does not pivot: it was refused, or it
        # never arrived. Only the former is certain.
        refused = bool(model.refused)
        return replace(
            model,
            state=JobState.READY,
            cause=Cause.PIVOT_REFUSED if refused else Cause.NONE,
            may_have_switched=model.may_have_switched and not refused,
        ), ()
    if model.state is JobState.ABORTING and model.repeat_abort:
        return replace(model, repeat_abort=False), (Action.ABORT,)
    return model, ()


def _seen_pivoting(model: MirrorModel) -> Step:
    if model.state is JobState.PIVOTING:
        return replace(model, may_have_switched=True), ()
    # Not by a request of ours that could still be under way.
    return replace(
        model, state=JobState.PIVOTING, may_have_switched=True, answered=True, refused=''
    ), _SOON


def _seen_aborting(model: MirrorModel) -> Step:
    return replace(model, state=JobState.ABORTING, repeat_abort=False), ()


_PRESENT: dict[Evidence, Callable[[MirrorModel], Step]] = {
    Evidence.COPYING: _seen_copying,
    Evidence.READY: _seen_ready,
    Evidence.PIVOTING: _seen_pivoting,
    Evidence.ABORTING: _seen_aborting,
}

_RULES: dict[type, Callable[[MirrorModel, MirrorEvent], Step]] = {
    ev.Accepted: _accepted,
    ev.Asked: _asked,
    ev.ReadyEvent: _ready,
    ev.CompletedEvent: _tells(Told.COMPLETED),
    ev.FailedEvent: _tells(Told.FAILED),
    ev.CanceledEvent: _tells(Told.CANCELED),
    ev.GuestStopped: _stopped,
    ev.Tick: _tick,
    ev.PivotRequested: _pivot_requested,
    ev.Answered: _answered,
    ev.PivotRefused: _pivot_refused,
    ev.AbortRequested: _abort_requested,
    ev.AbortRefused: _abort_refused,
    ev.Reconnected: _reconnected,
    ev.ConnectionLost: _ignored,
    ev.Reading: _reading,
}
