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
"""What is known about a block job at one moment, as handed to others."""

from __future__ import annotations

from dataclasses import dataclass

from blockmirror_driver.mirror.machine import MirrorModel
from blockmirror_driver.mirror.progress import Progress
from blockmirror_driver.mirror.states import Cause, JobState

_BY_CAUSE: dict[Cause, str] = {
    Cause.NONE: '',
    Cause.CANCELED: 'the hypervisor confirmed the cancellation',
    Cause.CANCELED_ELSEWHERE: 'another tool cancelled the copy',
    Cause.VANISHED: 'the block job is gone and nothing told how it ended',
    Cause.JOB_FAILED: 'the hypervisor reported that the copy failed, without a reason',
    Cause.GUEST_GONE: 'the guest stopped',
    Cause.FOREIGN_JOB: 'another block job holds the disk',
    Cause.SOURCE_CHANGED: "the guest's disk is neither the source nor the destination",
    Cause.PIVOT_REFUSED: 'the hypervisor refused the pivot',
}


@dataclass(frozen=True, slots=True)
class MirrorSnapshot:
    """What is known about the job at one moment.

    ``reason`` is one line for people, empty when all goes its way; ``cause`` is the same
    for programs. ``may_have_switched``: a pivot was asked for (or seen) and was not refused
    for certain; if the guest is gone then, only its stored XML may tell its disk. ``diverges``:
    the guest has dirtied the disk as fast as the copy moves it for a whole window.
    """

    state: JobState = JobState.NONE
    progress: Progress = Progress()
    reason: str = ''
    cause: Cause = Cause.NONE
    may_have_switched: bool = False
    diverges: bool = False

    @property
    def end_confirmed(self) -> bool:
        """Whether a copy that was ready and then ended is surely a consistent one.

        An abort that the hypervisor confirmed; a failure looks the same in the XML.
        """
        return self.state is JobState.ABORTED and self.cause is Cause.CANCELED


def snapshot(model: MirrorModel, progress: Progress, *, diverges: bool = False) -> MirrorSnapshot:
    """Describe a model."""
    reason = _BY_CAUSE[model.cause]
    if model.cause is Cause.PIVOT_REFUSED and model.refused:
        reason = f'{reason}: {model.refused}'
    if model.cause is Cause.JOB_FAILED and model.failed:
        reason = f'the hypervisor reported that the copy failed: {model.failed}'
    if model.state is JobState.STALLED:
        reason = f'nothing was moved for {progress.stalled_for:.0f} s'
    if diverges:
        reason = 'the guest writes as fast as the copy moves: there is no end in sight'
    return MirrorSnapshot(
        state=model.state,
        progress=progress,
        reason=reason,
        cause=model.cause,
        may_have_switched=model.undecidable,
        diverges=diverges,
    )
