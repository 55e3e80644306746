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
"""Who waits for a turn: a line in the journal, in the order in which they came.

Each ticket has an owner, as a swap has; that of a process which is gone counts for nothing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass

from blockmirror_driver.swap import rows
from blockmirror_driver.swap.budget import Claim
from blockmirror_driver.swap.database import Database
from blockmirror_driver.swap.owner import Owner


@dataclass(frozen=True, slots=True)
class Ticket:
    """One who waits, with one swap or with several that begin together.

    :ivar disks: the name of the domain and the target of each disk, for people
    :ivar since: seconds since the epoch
    :ivar owner: the process that waits
    """

    number: int
    wants: tuple[Claim, ...]
    disks: tuple[tuple[str, str], ...] = ()
    since: float = 0.0
    owner: Owner | None = None


class Tickets:
    """The line of one host. Any thread may call any method.

    Nothing of it need outlive the host.

    :raise JournalUnusable: from every method; nothing has changed then.
    """

    def __init__(self, database: Database) -> None:
        self._db = database

    def add(self, wants: Sequence[Claim], disks: Sequence[tuple[str, str]] = ()) -> int:
        """Stand in line for this process; return the ticket's number."""
        owner = rows.owner_text(Owner.current())
        with self._db.write(durable=False) as db:
            cursor = db.execute(
                'INSERT INTO ticket (owner, wants, disks, at) VALUES (?, ?, ?, ?)',
                (owner, _text(wants), json.dumps(disks), time.time()),
            )
            return int(cursor.lastrowid or 0)

    def change(self, number: int, wants: Sequence[Claim]) -> None:
        """Want something else, in the same place of the line."""
        with self._db.write(durable=False) as db:
            db.execute('UPDATE ticket SET wants = ? WHERE number = ?', (_text(wants), number))

    def remove(self, *numbers: int) -> None:
        """Leave the line; again changes nothing."""
        with self._db.write(durable=False) as db:
            db.executemany('DELETE FROM ticket WHERE number = ?', [(one,) for one in numbers])

    def line(self) -> tuple[Ticket, ...]:
        """Return who waits, the first first; those whose process is gone are taken out."""
        if not self._db.path.exists():
            return ()
        with self._db.read() as db:
            found = db.execute(
                'SELECT number, owner, wants, disks, at FROM ticket ORDER BY number'
            ).fetchall()
        tickets = [_ticket(*row) for row in found]
        gone = [one.number for one in tickets if one.owner is None or not one.owner.is_alive]
        if gone:
            self.remove(*gone)
        return tuple(one for one in tickets if one.number not in gone)


def _text(wants: Sequence[Claim]) -> str:
    return json.dumps([[one.backend, one.own] for one in wants])


def _ticket(number: int, owner: str, wants: str, disks: str, since: float) -> Ticket:
    return Ticket(
        number,
        tuple(Claim(*each) for each in json.loads(wants)),
        tuple((domain, dev) for domain, dev in json.loads(disks)),
        since,
        rows.owner_of(owner),
    )
