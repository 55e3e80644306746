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
"""``blockmirror swap`` and what it shares with ``copy``: run one swap in this process."""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from blockmirror_driver import exception
from blockmirror_driver.cli import arguments, destination, progress, render
from blockmirror_driver.cli.attempts import Attempts
from blockmirror_driver.cli.base import RecordCommand
from blockmirror_driver.cli.interrupts import Interrupts
from blockmirror_driver.mirror.options import CopyOptions
from blockmirror_driver.model import Disk
from blockmirror_driver.swap.record import SwapEvent
from blockmirror_driver.swap.request import Ending, SwapRequest
from blockmirror_driver.swap.states import ENDED, SwapState

if TYPE_CHECKING:
    from blockmirror_driver.swap.record import Outcome

Columns = tuple[tuple[str, ...], tuple[Any, ...]]


class Last:
    """Hands events on, and sees to it that the last one says that it is over.

    A swap that is refused before it has an id, or that is left running, has no such event of
    its own.
    """

    def __init__(self, sinks: progress.Fanout) -> None:
        self._sinks = sinks
        self._over = False
        self._state = SwapState.PLANNED
        self._swap_id = ''

    def __call__(self, event: SwapEvent) -> None:
        """Hand an event on."""
        self._over = event.event in ('end', 'error')
        self._state = event.state
        self._swap_id = event.swap_id
        self._sinks(event)

    def close(
        self, kind: str, detail: str, swap_id: str | None, state: SwapState | None = None
    ) -> None:
        """Make the last event, unless there was one."""
        if not self._over:
            self(
                SwapEvent(
                    time=time.time(),
                    swap_id=swap_id or self._swap_id,
                    event=kind,
                    state=state or self._state,
                    detail=detail,
                )
            )


class RunningCommand(RecordCommand):
    """A command that runs a swap of its own, shows its progress and its outcome."""

    changes = True
    columns = render.OUTCOME_COLUMNS

    def run_swap(
        self,
        request: SwapRequest,
        parsed: argparse.Namespace,
        *,
        display: bool = True,
        observe: Callable[[SwapEvent], None] | None = None,
    ) -> Outcome:
        """Run the swap to the end that was asked for, or until it is interrupted.

        :param display: whether to show progress to people.
        :param observe: called with each event, besides the display.
        :raise BlockmirrorError: as :meth:`SwapService.run`.
        """
        service = self.app.service
        with progress.opened(self.app, parsed, display=display) as sinks:
            last = Last(sinks)

            def observer(event: SwapEvent) -> None:
                last(event)
                if observe is not None:
                    observe(event)

            attempts = Attempts(
                service,
                parsed.attempts,
                parsed.attempt_interval,
                lambda text: self.app.say(text, important=True),
            )
            requests = itertools.chain([request], itertools.repeat(request.begun_anew()))
            try:
                with Interrupts(attempts).installed():
                    outcome = attempts.run(lambda: service.run(next(requests), observer=observer))
            except exception.BlockmirrorError as error:
                last.close('error', str(error), getattr(error, 'swap_id', None))
                raise
            last.close('end', outcome.state.value, outcome.swap_id, outcome.state)
        self.silent = progress.takes_stdout(parsed)
        self.exit_code = outcome.exit_code
        if outcome.exit_code and outcome.state not in ENDED:
            self.app.say(how_to_go_on(outcome), important=True)
        return outcome

    def show(self, outcome: Outcome) -> Columns:
        """Return the outcome as columns."""
        columns = render.outcome(outcome)
        return tuple(columns), tuple(columns.values())


class Swap(RunningCommand):
    """Move a disk of a running guest to another volume: copy, pivot, verify, clean up.

    The first ^C cancels in order, back to the source (exit code 5). The second leaves the copy
    running and says how to take it up again (130), as SIGTERM does.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Add the arguments."""
        parser = super().get_parser(prog_name)
        arguments.add_domain_and_disk(parser)
        arguments.add_connection_info(parser)
        hold = parser.add_mutually_exclusive_group()
        hold.add_argument(
            '--hold',
            action='store_true',
            help='do not pivot when the copy is ready; wait for blockmirror pivot or cancel',
        )
        hold.add_argument(
            '--hold-until',
            metavar='TIME',
            type=arguments.time_to_come,
            default=0.0,
            help='as --hold, but pivot at this time by itself: 2026-11-27T02:00 (local time, or '
            'with an offset such as +00:00), or 02:00 for the next such time; at the latest a '
            'week from now',
        )
        arguments.add_copy_options(parser)
        arguments.add_attempts(parser)
        arguments.add_events(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Columns:
        """Run the swap."""
        options = CopyOptions.from_conf(self.app.conf, **arguments.copy_options(parsed_args))
        disk = destination.from_arguments(parsed_args, parsed_args.disk, self.app)
        show_notes(self, disk)
        request = SwapRequest(
            parsed_args.domain,
            parsed_args.disk,
            disk,
            options,
            ending=Ending.PIVOT,
            hold=parsed_args.hold or bool(parsed_args.hold_until),
        )
        return self.show(self.run_swap(request, parsed_args))


def show_notes(command: RecordCommand, disk: Disk) -> None:
    """Show the remarks of the volume driver."""
    for note in disk.notes:
        command.app.say(f'note: {note}')


def how_to_go_on(outcome: Outcome) -> str:
    """Say what to do with a swap that this process has left behind."""
    if outcome.exit_code == exception.CleanupIncomplete.exit_code:
        return (
            f'the guest is on the destination, but cleaning up is incomplete; '
            f'blockmirror recover {outcome.swap_id} tries it again'
        )
    return (
        f'swap {outcome.swap_id} is left {outcome.state.value}; '
        f'blockmirror recover {outcome.swap_id} takes it up again, '
        f'with --cancel it goes back to the source'
    )
