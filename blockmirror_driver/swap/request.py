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
"""What a caller asks for."""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

from blockmirror_driver.mirror.options import CopyOptions
from blockmirror_driver.model import Disk


class Ending(enum.Enum):
    """How a copy is to end once source and destination are the same."""

    PIVOT = 'pivot'
    """Switch the guest to the destination."""

    FINISH = 'finish'
    """Let go of the destination, which stays as a consistent copy."""

    ASYNC = 'async'
    """Start the job and leave it running; recover or another tool ends it."""


@dataclass(frozen=True, slots=True)
class SwapRequest:
    """One disk of one running domain, and where it is to go.

    :param domain: name or UUID.
    :param dev: the disk's target, for example ``vda``.
    :param hold: stay in READY until a request to pivot, to finish or to cancel comes.
    :param places: how many swaps are about to begin together; there must be room for all.
    :param turn: the number of its place in the line for the budget, where it waits already.
    :param door: what whoever asks needs to know of it later; kept in the journal, so no secret.
    """

    domain: str
    dev: str
    destination: Disk
    options: CopyOptions
    ending: Ending = Ending.PIVOT
    hold: bool = False
    door: str = ''
    places: int = 1
    turn: int = 0

    def begun_anew(self) -> SwapRequest:
        """Return what another attempt asks for: the first may have written to the destination."""
        return replace(self, options=replace(self.options, target_zeroed=False))


class RecoverAction(enum.Enum):
    """What recovery does with a copy that still runs; what has switched is never undone."""

    RESUME = 'resume'
    """Take it to the end that was asked for; one that was to be left running stays so."""

    CANCEL = 'cancel'
    """End it; the guest stays on the source."""

    PIVOT = 'pivot'
    """Take it to a pivot, held or left running though it may have been."""

    FINISH = 'finish'
    """Let go of the destination once it is a consistent copy."""


#: The end that an action asks for instead of the one in the journal.
ENDINGS = {RecoverAction.PIVOT: Ending.PIVOT, RecoverAction.FINISH: Ending.FINISH}


class RequestKind(enum.Enum):
    """What one can ask of a swap that another process owns."""

    CANCEL = 'cancel'
    PIVOT = 'pivot'
    SPEED = 'speed'
    HOLD = 'hold'
