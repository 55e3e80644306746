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
"""``blockmirror recover`` and ``resolve``: what a killed process left behind."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any

from blockmirror_driver import exception
from blockmirror_driver.cli import arguments, progress, render
from blockmirror_driver.cli.base import RecordCommand, TableCommand
from blockmirror_driver.cli.interrupts import Interrupts

#: Which exit code speaks for several swaps: the first of these that one of them has.
_WORST_FIRST = (
    exception.StateUnknown.exit_code,
    exception.CleanupIncomplete.exit_code,
    130,
    exception.CopyFailed.exit_code,
    exception.TimedOut.exit_code,
    exception.Cancelled.exit_code,
    exception.Refused.exit_code,
)


class Recover(TableCommand):
    """Take up swaps whose process is gone: finish them, or bring them back.

    What is done is decided by evidence. The exit code is the worst one of any swap: 0 when all
    reached what was asked for. ^C works as for swap.
    """

    changes = True
    columns = ('swap_id', 'state', 'exit_code', 'message')

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Add the swap and the way."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'swap',
            metavar='SWAP',
            nargs='?',
            help="the swap's id or a beginning of it; without it every swap without an owner",
        )
        action = parser.add_mutually_exclusive_group()
        for name, text in (
            ('cancel', 'end running copies and go back to the source'),
            ('pivot', 'take running copies to a pivot, also those held or left running'),
            ('finish', 'end running copies once they are consistent; the guest stays'),
        ):
            action.add_argument(
                f'--{name}',
                dest='action',
                action='store_const',
                const=name,
                default='resume',
                help=f'{text}; what has switched is completed all the same',
            )
        arguments.add_events(parser)
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], list[tuple[str, str, int, str]]]:
        """Recover, and list what became of each swap."""
        service = self.app.service
        self.silent = progress.takes_stdout(parsed_args)
        with progress.opened(self.app, parsed_args) as sinks, Interrupts(service).installed():
            results = service.recover(
                parsed_args.swap,
                action=parsed_args.action,
                observer=sinks,
            )
        self.exit_code = worst(result.exit_code for result in results)
        rows = [(r.swap_id, r.state.value, r.exit_code, r.message) for r in results]
        return self.columns, rows


class Resolve(RecordCommand):
    """Settle a swap whose state is unknown, after looking at both volumes.

    A running guest can only be settled on the volume that it runs on. The stored definition of
    a guest that is off is made to name the chosen side.
    """

    changes = True
    columns = render.RECORD_COLUMNS

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Add the swap and the side."""
        parser = super().get_parser(prog_name)
        arguments.add_swap_id(parser)
        side = parser.add_mutually_exclusive_group(required=True)
        for name in ('source', 'destination'):
            side.add_argument(
                f'--{name}',
                dest='side',
                action='store_const',
                const=name,
                help=f'the {name} is the disk of the guest',
            )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[tuple[str, ...], list[Any]]:
        """Settle it, and show what it is now."""
        record = self.app.service.resolve(parsed_args.swap, parsed_args.side)
        self.exit_code = record.exit_code or 0
        columns = render.record(record)
        return tuple(columns), list(columns.values())


def worst(codes: Iterable[int]) -> int:
    """Return the exit code that speaks for several."""
    found = set(codes)
    return next((code for code in _WORST_FIRST if code in found), max(found, default=0))
