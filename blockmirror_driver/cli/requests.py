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
"""``blockmirror pivot``, ``cancel``, ``speed`` and ``hold``: ask the process that owns a swap."""

from __future__ import annotations

import abc
import argparse
import threading
import time

from blockmirror_driver import exception
from blockmirror_driver.cli import arguments
from blockmirror_driver.cli.base import PlainCommand
from blockmirror_driver.model import Seconds, format_bytes

#: Seconds between two looks whether the request was taken up.
LOOK_EVERY = Seconds(0.1)
#: Seconds to wait for that; owners look at least once a second, unless libvirt hangs.
TAKEN_WITHIN = Seconds(30.0)


class RequestCommand(PlainCommand, abc.ABC):
    """Leaves a request for a swap's owner and waits until it is taken up."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Add the swap and the waiting."""
        parser = super().get_parser(prog_name)
        arguments.add_swap_id(parser)
        parser.add_argument(
            '--no-wait',
            action='store_true',
            help='return at once; do not wait until the owner has taken the request up',
        )
        parser.add_argument(
            '--timeout',
            type=arguments.seconds,
            default=TAKEN_WITHIN,
            metavar='SECONDS',
            help=f'how long to wait for that (default: {TAKEN_WITHIN:.0f}); the request stays',
        )
        return parser

    @abc.abstractmethod
    def ask(self, swap_id: str, parsed: argparse.Namespace) -> tuple[int, str]:
        """Leave the request; return its number and what was asked, for the operator."""

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        """Leave the request, and wait."""
        swap_id = self.app.service.record(parsed_args.swap).id
        number, what = self.ask(swap_id, parsed_args)
        if parsed_args.no_wait:
            self.app.say(f'swap {swap_id}: asked to {what}')
            return 0
        self._wait(number, swap_id, Seconds(parsed_args.timeout))
        self.app.say(f'swap {swap_id}: told to {what}')
        return 0

    def _wait(self, number: int, swap_id: str, timeout: Seconds) -> None:
        """Wait until the owner has read the request.

        :raise TimedOut: when it has not within the timeout. The request stays.
        :raise WrongState: when the swap's owner died or the swap ended first.
        """
        service = self.app.service
        deadline = time.monotonic() + timeout
        pause = threading.Event()
        while not service.was_taken(number):
            record = service.record(swap_id)
            if not record.owner_alive and not service.was_taken(number):
                raise exception.WrongState(
                    f'swap {swap_id} is {record.state.value}: its owner went before it took the '
                    'request up',
                    hint=f'blockmirror show {swap_id}',
                )
            if time.monotonic() >= deadline:
                raise exception.TimedOut(
                    f'swap {swap_id}: its owner has not taken the request up within '
                    f'{timeout:g} s; the request stays',
                    hint=f'blockmirror show {swap_id}',
                )
            pause.wait(LOOK_EVERY)


class Pivot(RequestCommand):
    """Tell a held swap to pivot to the destination."""

    def ask(self, swap_id: str, parsed: argparse.Namespace) -> tuple[int, str]:
        """Ask for the pivot."""
        return self.app.service.request_pivot(swap_id), 'pivot'


class Cancel(RequestCommand):
    """Tell a swap to go back to its source."""

    def ask(self, swap_id: str, parsed: argparse.Namespace) -> tuple[int, str]:
        """Ask for the way back."""
        return self.app.service.request_cancel(swap_id), 'cancel'


class Speed(RequestCommand):
    """Change the bandwidth of a running swap."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Add the rate."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'rate',
            metavar='RATE',
            type=arguments.quantity,
            help='bytes per second, for example 100MiB; 0 is unlimited',
        )
        return parser

    def ask(self, swap_id: str, parsed: argparse.Namespace) -> tuple[int, str]:
        """Ask for the rate."""
        shown = f'{format_bytes(parsed.rate)}/s' if parsed.rate else 'any speed'
        return self.app.service.request_speed(swap_id, parsed.rate), f'copy at {shown}'


class Hold(RequestCommand):
    """Tell a swap to wait, once it is ready, until it is told to pivot or to cancel."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Add --off."""
        parser = super().get_parser(prog_name)
        parser.add_argument('--off', action='store_true', help='wait no longer: go on')
        return parser

    def ask(self, swap_id: str, parsed: argparse.Namespace) -> tuple[int, str]:
        """Ask to hold, or not to."""
        number = self.app.service.request_hold(swap_id, not parsed.off)
        return number, 'go on' if parsed.off else 'hold when ready'
