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
"""Refuse new swaps on this host, as before an upgrade or the end of its life."""

from __future__ import annotations

import argparse
import threading
import time

from blockmirror_driver import exception
from blockmirror_driver.cli import arguments
from blockmirror_driver.cli.base import PlainCommand

#: Seconds between two looks at the journal.
_LOOK_EVERY = 0.5


class Drain(PlainCommand):
    """Refuse new swaps on this host, or take them again; running ones go on."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Add what to do, and the waiting."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'switch', choices=('on', 'off', 'status'), help='refuse, take again, or only tell'
        )
        parser.add_argument(
            '--wait',
            type=arguments.seconds,
            metavar='SECONDS',
            help='with on: return when no swap runs any more and nothing is owed, at most so '
            'many seconds later',
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        """Set it in the journal, which every process of the host reads.

        :raise TimedOut: with ``--wait``, something still runs. New swaps stay refused.
        """
        journal = self.app.journal
        if parsed_args.switch != 'status':
            journal.drain(parsed_args.switch == 'on')
        if parsed_args.switch == 'on' and parsed_args.wait is not None:
            self._wait(parsed_args.wait)
        running, owed = self._left()
        word = 'refused' if journal.draining else 'taken'
        self.app.say(f'new swaps are {word}; {running} are running, {owed} steps are owed')
        return 0

    def _left(self) -> tuple[int, int]:
        journal = self.app.journal
        return len(journal.records(active_only=True)), len(journal.duties.owed())

    def _wait(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        pause = threading.Event()
        while any(self._left()):
            if time.monotonic() >= deadline:
                raise exception.TimedOut(
                    f'after {seconds:g} s swaps still run or something is owed; new ones stay '
                    'refused',
                    hint='blockmirror list --active; blockmirror show SWAP',
                )
            pause.wait(_LOOK_EVERY)
