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
"""One block job, driven: the only module of this room that does I/O."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from blockmirror_driver.mirror.options import CopyOptions
from blockmirror_driver.mirror.progress import Progress
from blockmirror_driver.mirror.states import Cause, JobState
from blockmirror_driver.model import BytesPerSecond, Disk, Seconds, Source

if TYPE_CHECKING:
    from blockmirror_driver.virt.connection import Hypervisor
    from blockmirror_driver.virt.domain import Domain


@dataclass(frozen=True, slots=True)
class MirrorSnapshot:
    """What is known about the job at one moment.

    ``may_have_switched``: a pivot was asked for (or seen), and it was not refused for
    certain; if the guest is gone then, nobody but its stored XML can tell its disk.
    """

    state: JobState = JobState.NONE
    progress: Progress = Progress()
    reason: str = ''
    cause: Cause = Cause.NONE
    may_have_switched: bool = False


class Mirror:
    """One block job of one disk."""

    def __init__(
        self,
        hypervisor: Hypervisor,
        domain: Domain,
        dev: str,
        *,
        source: Source,
        destination: Disk,
        options: CopyOptions,
        on_change: Callable[[MirrorSnapshot], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        raise NotImplementedError

    @property
    def state(self) -> JobState:
        """The state at the last evidence."""
        raise NotImplementedError

    def start(self) -> None:
        """Start the copy."""
        raise NotImplementedError

    def adopt(self) -> JobState:
        """Take up a job that already runs."""
        raise NotImplementedError

    def wait(
        self,
        until: Collection[JobState],
        *,
        timeout: Seconds | None = None,
        interrupt: Callable[[], bool] | None = None,
    ) -> JobState:
        """Wait for a state."""
        raise NotImplementedError

    def pivot(self) -> JobState:
        """Ask for the pivot and wait for evidence."""
        raise NotImplementedError

    def abort(self) -> JobState:
        """Ask for the end of the job and wait for evidence."""
        raise NotImplementedError

    def set_speed(self, bandwidth: BytesPerSecond) -> None:
        """Change the speed, in bytes/s."""
        raise NotImplementedError

    def wake(self) -> None:
        """Make a waiting thread look at its interrupt."""
        raise NotImplementedError

    def snapshot(self) -> MirrorSnapshot:
        """Return what is known; any thread."""
        raise NotImplementedError

    def close(self) -> None:
        """Stop listening; the job is left as it is."""
        raise NotImplementedError
