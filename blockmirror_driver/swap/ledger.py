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
from dataclasses import dataclass, replace

from oslo_log import log as logging

from blockmirror_driver import exception
from blockmirror_driver.mirror import passthrough
from blockmirror_driver.mirror.options import CopyOptions
from blockmirror_driver.mirror.progress import Progress
from blockmirror_driver.mirror.snapshot import MirrorSnapshot
from blockmirror_driver.mirror.states import JobState
from blockmirror_driver.model import Bytes, BytesPerSecond, Disk, Seconds
from blockmirror_driver.swap.journal import Journal
from blockmirror_driver.swap.record import Outcome, SwapEvent, SwapRecord
from blockmirror_driver.swap.request import Ending
from blockmirror_driver.swap.states import SwapState
from blockmirror_driver.virt.domain import JobInfo

LOG = logging.getLogger(__name__)

Observer = Callable[[SwapEvent], None]

#: States in which the progress of the job is worth a row.
_MOVING = frozenset({SwapState.COPYING, SwapState.READY, SwapState.HELD})


@dataclass(frozen=True, slots=True)
class Swap:
    """What a runner works on; ``destination`` cites secrets that exist.

    ``source_xml`` is the source's ``<disk>`` as libvirt wrote it, since a source may be of a
    kind that we can't build. ``marked`` is the intent that this process has written into the
    domain's metadata, empty while it has written none.
    """

    id: str
    domain_name: str
    domain_uuid: str
    dev: str
    source: Disk
    source_xml: str
    destination: Disk
    options: CopyOptions
    ending: Ending
    serial: str | None
    hold: bool = False
    guest_run: str = ''
    marked: str = ''


def view_of(swap: Swap) -> passthrough.View:
    """Return what QEMU is asked of a copy that libvirt does not see."""
    return passthrough.View(swap.id, swap.dev, swap.destination)


def swap_of(record: SwapRecord, source: Disk, destination: Disk, options: CopyOptions) -> Swap:
    """Make a runner's subject of a journal's row, whose bandwidth counts."""
    bandwidth = BytesPerSecond(record.granted or record.bandwidth)
    return Swap(
        id=record.id,
        domain_name=record.domain_name,
        domain_uuid=record.domain_uuid,
        dev=record.dev,
        source=source,
        source_xml=record.source_xml,
        destination=destination,
        options=replace(options, bandwidth=bandwidth),
        ending=record.ending,
        serial=record.serial,
        hold=record.hold,
        guest_run=record.guest_run,
    )


class Ledger:
    """The one place that a swap's state is written from. One thread calls it, the runner's.

    An intent has to be written before its step (:meth:`advance`). What has happened already
    is so, whether or not it can be written (:meth:`settle` and all else): a journal that
    fails then is logged, and recovery finds the same evidence.

    :param clock: monotonic seconds.
    """

    def __init__(
        self,
        journal: Journal,
        swap: Swap,
        observer: Observer | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.clock = clock
        self._journal = journal
        self._swap = swap
        self._observer = observer
        self._started = clock()
        self._moved = 0
        self._notes: list[str] = []
        self._diverged = False
        self._missed: list[tuple[SwapState, str, bool | None, int | None]] = []
        self.pivot_seconds: float | None = None
        record = journal.record(swap.id)
        self.state = record.state
        #: Whether a pivot was asked for and was not refused for certain.
        self.pivot_requested = record.pivot_requested

    @property
    def elapsed(self) -> Seconds:
        """Seconds since the ledger was opened."""
        return Seconds(self.clock() - self._started)

    def advance(
        self,
        state: SwapState,
        detail: str,
        *,
        pivot_requested: bool | None = None,
        exit_code: int | None = None,
        destination_xml: str | None = None,
        durable: bool = True,
    ) -> None:
        """Write the next state; only then may its step be taken.

        :param durable: false for a state that names no step, and that anybody can read from
            the block job.
        :raise JournalUnusable: WrongState: nothing was written.
        """
        self._catch_up()
        self._journal.advance(
            self._swap.id,
            state,
            detail,
            pivot_requested=pivot_requested,
            exit_code=exit_code,
            destination_xml=destination_xml,
            durable=durable,
        )
        self._take_note_of(state, detail, pivot_requested)

    def settle(
        self,
        state: SwapState,
        detail: str,
        *,
        pivot_requested: bool | None = None,
        exit_code: int | None = None,
    ) -> bool:
        """Take note of a state that holds already; tell whether the journal says so by now.

        What could not be written is written before the next state is, so that no state is
        left out.
        """
        self._missed.append((state, detail, pivot_requested, exit_code))
        try:
            self._catch_up()
        except exception.BlockmirrorError as error:
            LOG.warning('Swap %s: the journal does not say %s: %s', self._swap.id, state, error)
        self._take_note_of(state, detail, pivot_requested)
        return not self._missed

    def _catch_up(self) -> None:
        while self._missed:
            state, detail, pivot_requested, exit_code = self._missed[0]
            self._journal.advance(
                self._swap.id, state, detail, pivot_requested=pivot_requested, exit_code=exit_code
            )
            del self._missed[0]

    def _take_note_of(self, state: SwapState, detail: str, pivot_requested: bool | None) -> None:
        self.state = state
        if pivot_requested is not None:
            self.pivot_requested = pivot_requested
        LOG.info('Swap %s of %s %s: %s', self._swap.id, self._swap.dev, state.value, detail)
        self.emit('state', detail)

    def note(self, text: str, *, exit_code: int | None = None) -> None:
        """Add a line to the history and to the outcome."""
        self._notes.append(text)
        self._try(lambda: self._journal.note(self._swap.id, text, exit_code=exit_code))

    def release(self) -> None:
        """Give up ownership: anybody may adopt the swap."""
        self._try(lambda: self._journal.release(self._swap.id))

    def set_hold(self, hold: bool) -> None:
        """Record whether the swap waits in READY."""
        self._try(lambda: self._journal.set_hold(self._swap.id, hold))

    def set_bandwidth(self, bandwidth: int) -> None:
        """Record the speed in force where no budget counts bytes, bytes/s."""
        self._try(lambda: self._journal.set_bandwidth(self._swap.id, bandwidth, granted=0))

    def on_change(self, snapshot: MirrorSnapshot) -> None:
        """Take the mirror's word about its progress."""
        if snapshot.diverges and not self._diverged:
            LOG.warning('Swap %s: %s', self._swap.id, snapshot.reason)
            self.note(snapshot.reason)
        self._diverged = snapshot.diverges
        # At the moment of READY each millisecond counts, and the numbers are counted anew.
        just_ready = self.state is SwapState.COPYING and snapshot.state is JobState.READY
        write = self.state in _MOVING and not just_ready
        self._progress(snapshot.progress, snapshot.reason, write=write)

    def count(self, progress: Progress, job: JobInfo | None) -> None:
        """Take note of what was moved when both sides are the same.

        The mirror learns of that by an event, which tells no number: its last look at the
        cursor may be older.
        """
        if job is not None:
            progress = replace(progress, cur=Bytes(job.cur), end=Bytes(job.end))
        if progress.end > self._moved:
            self._progress(replace(progress, cur=progress.end, eta=Seconds(0.0)), '', write=True)

    def _progress(self, progress: Progress, detail: str, *, write: bool) -> None:
        # The mirror's last look may be older than what was counted.
        self._moved = max(self._moved, progress.cur)
        moved = Bytes(self._moved)
        progress = replace(progress, cur=moved, end=Bytes(max(progress.end, moved)))
        if write:
            self._try(lambda: self._journal.progress(self._swap.id, progress))
        self.emit('progress', detail, progress)

    def _try(self, write: Callable[[], None]) -> None:
        try:
            write()
        except exception.BlockmirrorError as error:
            LOG.warning('Swap %s: the journal could not be written: %s', self._swap.id, error)

    def emit(self, event: str, detail: str = '', progress: Progress | None = None) -> None:
        """Tell the observer. Whatever it does, the swap goes on."""
        if self._observer is None:
            return
        told = SwapEvent(time.time(), self._swap.id, event, self.state, detail, progress)
        try:
            self._observer(told)
        except Exception:  # a swap does not depend on who looks on, say at a closed pipe
            LOG.exception('Swap %s: its observer failed and is told no more', self._swap.id)
            self._observer = None

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
            notes=(*self._notes, *self._gaps()),
        )

    def _gaps(self) -> list[str]:
        states = ', '.join(state.value for state, *_rest in self._missed)
        return [f'the journal could not be written: {states}'] if states else []
