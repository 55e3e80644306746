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
"""Show who waits for a turn, and what for."""

from __future__ import annotations

import argparse

from blockmirror_driver.cli import render
from blockmirror_driver.cli.base import TableCommand

_COLUMNS = ('place', 'domain', 'disk', 'since', 'owner', 'reason')
_CALLED = 'it is its turn: the others give way to it'


class Waiting(TableCommand):
    """List the swaps of this host that wait for their turn, the first first.

    Swaps that begin together have one place.
    """

    columns = _COLUMNS

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
        """Read the journal, and hold it against the limits of the configuration."""
        # Late: --help needs no database.
        from blockmirror_driver.swap import budget as budgets
        from blockmirror_driver.swap import line
        from blockmirror_driver.swap.tickets import Tickets

        journal, limits = self.app.journal, budgets.Budget.from_conf(self.app.conf)
        running = tuple(budgets.claims(journal, limits).values())
        found = line.waiting(limits, running, Tickets(journal.database).line())
        rows: list[tuple[object, ...]] = [
            (
                place,
                domain,
                dev,
                render.moment(ticket.since),
                render.owner(ticket.owner),
                reason or _CALLED,
            )
            for place, (ticket, reason) in enumerate(found, 1)
            for domain, dev in ticket.disks
        ]
        return _COLUMNS, rows
