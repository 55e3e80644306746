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
"""``blockmirror watch``: follow a swap that another process runs. No libvirt is needed."""

from __future__ import annotations

import argparse
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from blockmirror_driver import exception
from blockmirror_driver.cli import arguments, progress
from blockmirror_driver.cli.base import PlainCommand
from blockmirror_driver.mirror.progress import Progress
from blockmirror_driver.model import Bytes, BytesPerSecond, Seconds
from blockmirror_driver.swap.record import SwapEvent, SwapRecord
from blockmirror_driver.swap.states import ENDED, SwapState

if TYPE_CHECKING:
    # Late: --help does not need sqlite3.
    from blockmirror_driver.swap.journal import Journal

#: Seconds between two looks into the journal: sqlite tells nobody that it was written.
LOOK_EVERY = Seconds(0.5)

_OVER = ENDED | {SwapState.UNKNOWN}


class Watch(PlainCommand):
    """Follow a swap until it ends; exit with its exit code.

    ^C ends the watching, not the swap.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Add the swap and the progress options."""
        parser = super().get_parser(prog_name)
        arguments.add_swap_id(parser)
        arguments.add_events(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        """Read the journal over and over."""
        record = self.app.journal.record(parsed_args.swap)
        with progress.opened(self.app, parsed_args) as sinks:
            for seen, event in follow(self.app.journal, record.id):
                record = seen
                sinks(event)
        code = result(record)
        self.app.say(f'swap {record.id} is {record.state.value}: {record.detail}')
        return code


def follow(
    journal: Journal, swap_id: str, *, every: Seconds = LOOK_EVERY
) -> Iterator[tuple[SwapRecord, SwapEvent]]:
    """Yield each change of a swap, up to its end or until it has no living owner.

    :param every: seconds between two looks.
    """
    pause = threading.Event()
    seen: SwapRecord | None = None
    while True:
        record = journal.record(swap_id)
        over = record.state in _OVER or not record.owner_alive
        if over:
            # Its owner may have written between our look at the row and our look at the owner.
            record = journal.record(swap_id)
        if record != seen or over:
            yield record, event_of(record, seen, over=over)
        if over:
            return
        seen = record
        pause.wait(every)


def event_of(record: SwapRecord, seen: SwapRecord | None, *, over: bool) -> SwapEvent:
    """Return the event that leads from what was seen to the record."""
    if over:
        kind = 'error' if record.exit_code else 'end'
    elif seen is None or record.state is not seen.state:
        kind = 'ready' if record.state is SwapState.READY else 'state'
    else:
        kind = 'progress'
    cursor = Progress(
        cur=Bytes(record.cur),
        end=Bytes(record.end),
        rate=BytesPerSecond(record.rate),
        dirty_rate=BytesPerSecond(record.dirty_rate),
        eta=None if record.eta is None else Seconds(record.eta),
    )
    return SwapEvent(
        time=record.updated_at,
        swap_id=record.id,
        event=kind,
        state=record.state,
        detail=record.detail,
        progress=cursor if record.end > 0 else None,
    )


def result(record: SwapRecord) -> int:
    """Return the exit code of a swap that is over.

    :raise WrongState: when it is not: nobody owns it any more.
    """
    if record.state in _OVER or record.exit_code is not None:
        if record.exit_code is not None:
            return record.exit_code
        return exception.StateUnknown.exit_code if record.state is SwapState.UNKNOWN else 0
    raise exception.WrongState(
        f'swap {record.id} is {record.state.value} and has no living owner',
        hint=f'blockmirror recover {record.id} takes it up',
    )
