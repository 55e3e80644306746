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
"""What a runner tells: to the journal, to the observer, to the log, and in its outcome."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from oslo_log import log as logging

from blockmirror_driver.mirror.options import CopyOptions
from blockmirror_driver.mirror.snapshot import MirrorSnapshot
from blockmirror_driver.model import Disk, Seconds
from blockmirror_driver.swap.journal import Journal
from blockmirror_driver.swap.record import Outcome, SwapEvent, SwapRecord
from blockmirror_driver.swap.request import Ending
from blockmirror_driver.swap.states import SwapState

LOG = logging.getLogger(__name__)

Observer = Callable[[SwapEvent], None]

#: States in which the progress of the job is worth a row.
_MOVING = frozenset({SwapState.COPYING, SwapState.READY, SwapState.HELD})


@dataclass(frozen=True, slots=True)
class Swap:
    """What a runner works on; ``destination`` cites secrets that exist."""

    id: str
    domain_name: str
    domain_uuid: str
    dev: str
    source: Disk
    destination: Disk
    options: CopyOptions
    ending: Ending
    serial: str | None
    hold: bool = False


def swap_of(record: SwapRecord, source: Disk, destination: Disk, options: CopyOptions) -> Swap:
    """Make a runner's subject of a journal's row."""
    return Swap(
        id=record.id,
        domain_name=record.domain_name,
        domain_uuid=record.domain_uuid,
        dev=record.dev,
        source=source,
        destination=destination,
        options=options,
        ending=record.ending,
        serial=record.serial,
        hold=record.hold,
    )


class Ledger:
    """The one place that a swap's state is written from.

    One thread calls it, the runner's.
    """

    def __init__(self, journal: Journal, swap: Swap, observer: Observer | None) -> None:
        self._journal = journal
        self._swap = swap
        self._observer = observer or (lambda _event: None)
        self._started = time.monotonic()
        self._moved = 0
        self._notes: list[str] = []
        self.pivot_seconds: float | None = None
        self.state = journal.record(swap.id).state

    @property
    def elapsed(self) -> Seconds:
        """Seconds since the runner was made."""
        return Seconds(time.monotonic() - self._started)

    def advance(
        self,
        state: SwapState,
        detail: str,
        *,
        pivot_requested: bool | None = None,
        exit_code: int | None = None,
    ) -> None:
        """Write the next state; only then may its step be taken.

        :raise JournalUnusable: WrongState: nothing was written.
        """
        self._journal.advance(
            self._swap.id, state, detail, pivot_requested=pivot_requested, exit_code=exit_code
        )
        self.state = state
        LOG.info('Swap %s of %s %s: %s', self._swap.id, self._swap.dev, state.value, detail)
        self.emit('state', detail)

    def note(self, text: str, *, exit_code: int | None = None) -> None:
        """Add a line to the history and to the outcome."""
        self._notes.append(text)
        self._journal.note(self._swap.id, text, exit_code=exit_code)

    def on_change(self, snapshot: MirrorSnapshot) -> None:
        """Take the mirror's word about its progress."""
        self._moved = max(self._moved, snapshot.progress.cur)
        if self.state in _MOVING:
            self._journal.progress(self._swap.id, snapshot.progress)
        self.emit('progress', snapshot.reason, snapshot)

    def emit(self, event: str, detail: str = '', snapshot: MirrorSnapshot | None = None) -> None:
        """Tell the observer."""
        progress = snapshot.progress if snapshot else None
        self._observer(SwapEvent(time.time(), self._swap.id, event, self.state, detail, progress))

    def outcome(self, exit_code: int) -> Outcome:
        """Sum up, and tell the observer that this is the end."""
        self.emit('end', self.state.value)
        return Outcome(
            swap_id=self._swap.id,
            state=self.state,
            domain=self._swap.domain_name,
            dev=self._swap.dev,
            source=self._swap.source.source.describe(),
            destination=self._swap.destination.source.describe(),
            bytes_moved=self._moved,
            seconds=float(self.elapsed),
            exit_code=exit_code,
            pivot_seconds=self.pivot_seconds,
            notes=tuple(self._notes),
        )
