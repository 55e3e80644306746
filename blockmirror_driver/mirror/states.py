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
"""The states of one block job, in prose, and which may follow which.

:mod:`blockmirror_driver.mirror.machine` decides between them;
:mod:`blockmirror_driver.mirror.diagram` draws them from :data:`TRANSITIONS`.
"""

from __future__ import annotations

import enum


class JobState(enum.Enum):
    """Where one block job stands, as far as evidence goes."""

    #: No job was started or taken up. Nothing is known about the disk. Left when the
    #: hypervisor accepts the copy, or when a reading shows a job (or its outcome).
    NONE = 'none'
    #: Our job runs and moves data. The guest's disk is the source; the destination is
    #: not yet a copy. Left when the hypervisor says that it is ready, when the cursor
    #: stands still, on request, or when the job ends.
    COPYING = 'copying'
    #: Our job runs, but its cursor has not moved for longer than allowed: most likely
    #: the destination does not answer. The guest is unharmed and on the source. Left by
    #: itself when the cursor moves again; otherwise whoever waits gives up and aborts.
    STALLED = 'stalled'
    #: Source and destination hold the same, and each write goes to both. The guest's
    #: disk is the source. An idle guest moves no cursor here: that is no stall. Left
    #: when a pivot or an abort is asked for, or when the job ends by itself.
    READY = 'ready'
    #: A pivot was asked for, and no evidence shows yet what came of it. The guest's
    #: disk is one of the two. Left by evidence only: the live XML names the
    #: destination, or the job is still there and ready (the pivot was refused), or it
    #: is gone. A deadline ends the waiting, never the state.
    PIVOTING = 'pivoting'
    #: The live XML names the destination and no ``<mirror>`` is left. The point of no
    #: return is behind us. Final.
    PIVOTED = 'pivoted'
    #: An abort was asked for, and the job is still there. The guest's disk is the
    #: source. A destination that hangs can hold the job here for as long as it hangs.
    ABORTING = 'aborting'
    #: The job was ended before any pivot; the guest is on the source. When it had been
    #: ready, the destination holds every write acknowledged before the abort, provided
    #: that the hypervisor confirmed the end (:attr:`Cause.CANCELED`). Final.
    ABORTED = 'aborted'
    #: The job ended badly, and the guest (or its stored definition, when the guest is
    #: gone and no pivot can have happened) is on the source. Final.
    FAILED = 'failed'
    #: Our job is not there any more and nobody said how it ended, or what is there is
    #: not ours. :class:`Cause` tells whether the guest is surely on the source
    #: (:attr:`Cause.VANISHED`); in each other case somebody else must decide. Nothing
    #: more is touched. Final.
    LOST = 'lost'


class Cause(enum.Enum):
    """Why a job left its last state; more than a state says, less than an error."""

    #: Nothing to say: the ordinary way.
    NONE = ''
    #: The hypervisor confirmed that the job was cancelled on our request.
    CANCELED = 'canceled'
    #: The hypervisor confirmed that the job was cancelled, but not by us.
    CANCELED_ELSEWHERE = 'canceled-elsewhere'
    #: The job is gone and the live source is the old one; no event told how it ended.
    VANISHED = 'vanished'
    #: The hypervisor reported that the job failed. It never says why.
    JOB_FAILED = 'job-failed'
    #: The guest stopped. With FAILED: before any pivot, the source holds every write.
    #: With LOST: a pivot may have happened, so the mirror can't say which disk is the
    #: guest's.
    GUEST_GONE = 'guest-gone'
    #: A block job that is not ours holds the disk.
    FOREIGN_JOB = 'foreign-job'
    #: The live source is neither our source nor our destination.
    SOURCE_CHANGED = 'source-changed'
    #: The hypervisor refused the pivot; the job is still there.
    PIVOT_REFUSED = 'pivot-refused'


#: States that nothing leaves.
TERMINAL: frozenset[JobState] = frozenset(
    {JobState.PIVOTED, JobState.ABORTED, JobState.FAILED, JobState.LOST}
)

#: States in which our job was there at the last look and the guest is on the source.
RUNNING: frozenset[JobState] = frozenset({JobState.COPYING, JobState.STALLED, JobState.READY})


def _transitions() -> frozenset[tuple[JobState, JobState]]:
    s = JobState
    inner = {
        (s.NONE, s.COPYING),
        (s.NONE, s.READY),
        (s.NONE, s.PIVOTING),
        (s.NONE, s.ABORTING),
        (s.COPYING, s.STALLED),
        (s.COPYING, s.READY),
        (s.STALLED, s.COPYING),
        (s.STALLED, s.READY),
        (s.READY, s.PIVOTING),
        (s.PIVOTING, s.READY),
    }
    # Another tool on the same host may pivot or abort our job at any time.
    inner |= {(one, s.PIVOTING) for one in RUNNING} | {(one, s.ABORTING) for one in RUNNING}
    inner |= {(s.PIVOTING, s.ABORTING), (s.ABORTING, s.PIVOTING)}
    alive = set(JobState) - TERMINAL
    ends = {(one, end) for one in alive for end in TERMINAL}
    return frozenset(inner | ends)


#: Every allowed change of state; the machine makes no other (tested pair by pair).
TRANSITIONS: frozenset[tuple[JobState, JobState]] = _transitions()
