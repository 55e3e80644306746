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
"""What the evidence decides, whatever the journal says it had in mind.

:func:`decide` is a pure function of :class:`Evidence`. It is the only place that knows when
a swap is taken up, reverted, rolled forward or left to an operator; the runner, recovery and
verification all ask it. The table in the documentation is generated from the same rows that
the tests go through.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Guest(enum.Enum):
    """Whether there is a QEMU process. A paused guest counts as running."""

    RUNNING = 'running'
    GONE = 'gone'


class Job(enum.Enum):
    """The block job on the disk, as ``<mirror>`` and libvirt's job info show it."""

    NONE = 'none'
    COPYING = 'copying'
    READY = 'ready'
    PIVOTING = 'pivoting'
    """A pivot is under way (``ready='pivot'``), ours or another tool's."""
    ABORTING = 'aborting'
    """An abort is under way (``ready='abort'``)."""
    FOREIGN = 'foreign'


class Side(enum.Enum):
    """Which volume an XML names."""

    SOURCE = 'source'
    DESTINATION = 'destination'
    OTHER = 'other'
    ABSENT = 'absent'
    """There is no such XML, or no such disk in it: the domain is transient or gone, or the
    disk was attached to the running guest only."""


class Decision(enum.Enum):
    """What to do."""

    RESUME = 'resume'
    """Our job runs: take it up again."""

    WAIT = 'wait'
    """The job is ending: wait for its end, then read again."""

    REVERT = 'revert'
    """The guest is on the source for good: release the destination."""

    ROLL_FORWARD = 'roll forward'
    """The guest is on the destination: verify and clean up."""

    REPAIR = 'repair'
    """As ROLL_FORWARD, after bringing the stored XML in line."""

    UNKNOWN = 'unknown'
    """An operator must decide. Touch nothing, keep both volumes."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was read of the world in one go."""

    guest: Guest
    job: Job
    live: Side
    stored: Side
    pivot_requested: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """A decision with its reason, one clause for the log and the operator."""

    decision: Decision
    reason: str


def decide(evidence: Evidence) -> Verdict:
    """Decide by evidence. Total: every combination has a verdict."""
    if evidence.guest is Guest.GONE:
        return _decide_gone(evidence)
    if evidence.job is Job.FOREIGN:
        return Verdict(Decision.UNKNOWN, 'a block job that is not ours is on the disk')
    if evidence.job is Job.NONE:
        return _decide_without_job(evidence)
    if evidence.live is not Side.SOURCE:
        return Verdict(Decision.UNKNOWN, 'a job of ours runs on a disk that is not the source')
    if evidence.job in (Job.PIVOTING, Job.ABORTING):
        return Verdict(Decision.WAIT, f'the block job is {evidence.job.value}')
    return Verdict(Decision.RESUME, f'our block job is {evidence.job.value}')


def _decide_without_job(evidence: Evidence) -> Verdict:
    if evidence.live is Side.SOURCE:
        if evidence.stored is Side.DESTINATION:
            # Whoever starts the guest next would get the destination: not ours to undo.
            return Verdict(
                Decision.UNKNOWN, 'the guest is on the source, its stored XML on the destination'
            )
        if evidence.pivot_requested:
            # A libvirtd that died within the pivot may come back with the old source in its
            # XML while QEMU runs on the new one (seen on libvirt 9.0).
            return Verdict(
                Decision.UNKNOWN,
                'the pivot was asked for, the job is gone and nothing tells how it ended',
            )
        return Verdict(Decision.REVERT, 'the guest is on the source and no job is left')
    if evidence.live is Side.DESTINATION:
        if evidence.stored in (Side.DESTINATION, Side.ABSENT):
            return Verdict(Decision.ROLL_FORWARD, 'the guest is on the destination')
        return Verdict(Decision.REPAIR, 'the guest is on the destination, its stored XML is not')
    return Verdict(Decision.UNKNOWN, 'somebody changed the disk: it is on neither volume')


def _decide_gone(evidence: Evidence) -> Verdict:
    if evidence.stored is Side.DESTINATION:
        return Verdict(Decision.ROLL_FORWARD, 'the guest is off, its stored XML has switched')
    if evidence.pivot_requested:
        return Verdict(
            Decision.UNKNOWN,
            'the guest went away around the pivot and may have written to the destination',
        )
    if evidence.stored is Side.OTHER:
        return Verdict(
            Decision.UNKNOWN, 'the guest is off and its stored XML names a third volume'
        )
    return Verdict(Decision.REVERT, 'the guest is off; the source has every acknowledged write')
