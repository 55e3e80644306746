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
"""The journal: what each swap intends, written before it is done.

One sqlite3 file (WAL) of mode 0600 in a directory of mode 0700. What is written is on the disk
before the writer goes on, but for what the block job itself tells anybody who looks: how far a
copy is, and that it is READY. It is the meeting place of the processes of one host: the owner of
a swap writes its state, others leave requests for it. It never holds a secret: the XML in it
cites secrets by reference.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from blockmirror_driver import exception
from blockmirror_driver.mirror.options import QMP
from blockmirror_driver.mirror.progress import Progress
from blockmirror_driver.swap import rows
from blockmirror_driver.swap.database import Database
from blockmirror_driver.swap.duties import Duties
from blockmirror_driver.swap.mail import Mail
from blockmirror_driver.swap.owner import Owner
from blockmirror_driver.swap.record import SwapRecord
from blockmirror_driver.swap.request import Ending, RequestKind
from blockmirror_driver.swap.states import SwapState, may_follow

_DRAIN = 'drain'


@dataclass(frozen=True, slots=True)
class Step:
    """One line of a swap's history; ``at`` is seconds since the epoch."""

    at: float
    state: SwapState
    detail: str


@dataclass(frozen=True, slots=True)
class Request:
    """What somebody asks of a swap's owner.

    ``argument`` is bytes/s for SPEED, 0 or 1 for HOLD.
    """

    number: int
    kind: RequestKind
    argument: int


class Journal:
    """The journal of one host.

    Any thread may call any method; each thread has a connection of its own. A method that
    raises has changed nothing.

    :param path: the file; it and its directory are created by the first write.
    :raise JournalUnusable: from every method, when sqlite or the file system refuses.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._db = Database(self.path)
        #: Who is woken when a request waits.
        self.mail = Mail(self.waiting, self.close)

    @property
    def duties(self) -> Duties:
        """What is still owed once a swap has ended."""
        return Duties(self._db)

    @property
    def database(self) -> Database:
        """The file, for those who keep a table of their own in it."""
        return self._db

    def exists(self) -> bool:
        """Tell whether anything was ever written."""
        return self.path.exists()

    def check(self) -> None:
        """Open the journal and prove that it can be written."""
        with self._db.write() as db:
            # An empty transaction would write nothing, and so prove nothing on a full disk.
            db.execute(f'PRAGMA user_version = {rows.SCHEMA_VERSION}')

    def create(self, record: SwapRecord) -> None:
        """Insert a new swap.

        :raise DiskBusy: when a swap of the same disk has not ended.
        """
        values = rows.row_of(record)
        marks = ', '.join('?' * len(values))
        try:
            with self._db.write() as db:
                db.execute(f'INSERT INTO swap ({rows.COLUMNS}) VALUES ({marks})', values)  # noqa: S608
                _add_step(db, record.id, record.state, record.detail)
        except exception.JournalUnusable as error:
            if isinstance(error.__cause__, sqlite3.IntegrityError):
                raise exception.DiskBusy(
                    f'another swap of {record.dev} of {record.domain_name} has not ended',
                    hint='blockmirror list shows it; blockmirror recover takes it up',
                ) from error
            raise

    def advance(
        self,
        swap_id: str,
        state: SwapState,
        detail: str = '',
        *,
        pivot_requested: bool | None = None,
        exit_code: int | None = None,
        destination_xml: str | None = None,
        durable: bool = True,
    ) -> None:
        """Write the next state, before its step is taken.

        :param durable: false for a state that names no step; see :meth:`Database.write`.
        :raise WrongState: when the table of transitions does not allow it; this is a defect
            of ours or a second owner, never a user's mistake.
        """
        with self._db.write(durable=durable) as db:
            old = _state_of(db, swap_id)
            if not may_follow(old, state):
                raise exception.WrongState(
                    f'swap {swap_id} is {old.value}, not to be {state.value}'
                )
            db.execute(
                'UPDATE swap SET state = ?, detail = ?, updated_at = ?,'
                ' pivot_requested = coalesce(?, pivot_requested),'
                ' exit_code = coalesce(?, exit_code),'
                ' destination_xml = coalesce(?, destination_xml) WHERE id = ?',
                (
                    state.value,
                    detail,
                    time.time(),
                    pivot_requested,
                    exit_code,
                    destination_xml,
                    swap_id,
                ),
            )
            _add_step(db, swap_id, state, detail)

    def note(self, swap_id: str, detail: str, *, exit_code: int | None = None) -> None:
        """Add a line to the history without a change of state."""
        with self._db.write() as db:
            state = _state_of(db, swap_id)
            db.execute(
                'UPDATE swap SET detail = ?, updated_at = ?, exit_code = coalesce(?, exit_code)'
                ' WHERE id = ?',
                (detail, time.time(), exit_code, swap_id),
            )
            _add_step(db, swap_id, state, detail)

    def progress(self, swap_id: str, progress: Progress) -> None:
        """Write the latest progress. It keeps no history, and need not outlive the host."""
        eta = None if progress.eta is None else float(progress.eta)
        with self._db.write(durable=False) as db:
            db.execute(
                'UPDATE swap SET cur = ?, end = ?, rate = ?, dirty_rate = ?, eta = ?,'
                ' updated_at = ? WHERE id = ?',
                (
                    progress.cur,
                    progress.end,
                    int(progress.rate),
                    int(progress.dirty_rate),
                    eta,
                    time.time(),
                    swap_id,
                ),
            )

    def set_bandwidth(self, swap_id: str, bandwidth: int, granted: int | None = None) -> None:
        """Record a swap's own bandwidth, bytes/s; 0 means that it has none.

        :param granted: as for :meth:`set_granted`; ``None`` leaves it.
        """
        with self._db.write():
            self._update(swap_id, 'bandwidth', bandwidth)
            if granted is not None:
                self._update(swap_id, 'granted', granted)

    def set_granted(self, swap_id: str, bandwidth: int) -> None:
        """Record what a swap may move of a budget at the most, bytes/s."""
        self._update(swap_id, 'granted', bandwidth)

    def set_hold(self, swap_id: str, hold: bool) -> None:
        """Record whether the swap waits in READY; a time to go on by itself is forgotten."""
        with self._db.write() as db:
            self._update(swap_id, 'hold', int(hold))
            db.execute(
                "UPDATE swap SET options = json_remove(options, '$.hold_until') WHERE id = ?",
                (swap_id,),
            )

    def set_ending(self, swap_id: str, ending: Ending) -> None:
        """Record that the swap is to end otherwise, and without waiting in READY."""
        with self._db.write():
            self._update(swap_id, 'ending', ending.value)
            self._update(swap_id, 'hold', 0)

    def release(self, swap_id: str) -> None:
        """Give up ownership: the job goes on and anybody may adopt the swap."""
        self._update(swap_id, 'owner', None)

    def adopt(self, swap_id: str) -> bool:
        """Become the owner of a swap whose owner is dead or gave it up.

        Exactly one of several processes that try gets ``True``.
        """
        with self._db.write() as db:
            row = db.execute('SELECT owner FROM swap WHERE id = ?', (swap_id,)).fetchone()
            if row is None:
                raise exception.SwapNotFound(f'no swap {swap_id}')
            owner = rows.owner_of(row[0])
            if owner is not None and owner.is_alive and owner != Owner.current():
                return False
            db.execute(
                'UPDATE swap SET owner = ? WHERE id = ?',
                (rows.owner_text(Owner.current()), swap_id),
            )
            return True

    def records(self, *, active_only: bool = False) -> tuple[SwapRecord, ...]:
        """Return all swaps, oldest first; an absent journal holds none."""
        where = f' WHERE state NOT IN ({rows.ENDED_STATES})' if active_only else ''
        if not self.exists():
            return ()
        with self._db.read() as db:
            found = db.execute(
                f'SELECT {rows.COLUMNS} FROM swap{where} ORDER BY created_at, id'  # noqa: S608
            ).fetchall()
        return tuple(rows.record_of(row) for row in found)

    def record(self, swap_id: str) -> SwapRecord:
        """Return one swap by its id, or by a beginning of it that only one has.

        :raise SwapNotFound: when none or several begin like this.
        """
        found = [r for r in self.records() if r.id.startswith(swap_id)] if swap_id else []
        exact = [r for r in found if r.id == swap_id]
        if len(exact or found) != 1:
            count = 'several swaps begin with' if found else 'no swap'
            raise exception.SwapNotFound(f'{count} {swap_id[:64]!r}')
        return (exact or found)[0]

    def steps(self, swap_id: str) -> tuple[Step, ...]:
        """Return the history of a swap, oldest first."""
        with self._db.read() as db:
            found = db.execute(
                'SELECT at, state, detail FROM step WHERE swap_id = ? ORDER BY number', (swap_id,)
            ).fetchall()
        return tuple(Step(at, SwapState(state), detail) for at, state, detail in found)

    def ask(self, swap_id: str, kind: RequestKind, argument: int = 0) -> int:
        """Leave a request for the owner; return its number."""
        with self._db.write() as db:
            cursor = db.execute(
                'INSERT INTO request (swap_id, kind, argument, at) VALUES (?, ?, ?, ?)',
                (swap_id, kind.value, argument, time.time()),
            )
            return int(cursor.lastrowid or 0)

    def requests(self, swap_id: str, *, after: int = 0) -> tuple[Request, ...]:
        """Return what waits to be taken up, oldest first; only reads. Cheap.

        :param after: the number of the last request that the caller has seen.
        """
        with self._db.read() as db:
            found = db.execute(
                'SELECT number, kind, argument FROM request'
                ' WHERE swap_id = ? AND taken_at IS NULL AND number > ? ORDER BY number',
                (swap_id, after),
            ).fetchall()
        return tuple(Request(number, RequestKind(kind), arg) for number, kind, arg in found)

    def waiting(self) -> dict[str, int]:
        """Return the number of the last request that waits, for each swap that has one."""
        with self._db.read() as db:
            found = db.execute(
                'SELECT swap_id, max(number) FROM request WHERE taken_at IS NULL GROUP BY swap_id'
            ).fetchall()
        return dict(found)

    def take(self, swap_id: str, upto: int) -> None:
        """Tell those who asked that their requests are taken up, to this number."""
        with self._db.write() as db:
            db.execute(
                'UPDATE request SET taken_at = ?'
                ' WHERE swap_id = ? AND taken_at IS NULL AND number <= ?',
                (time.time(), swap_id, upto),
            )

    def was_taken(self, number: int) -> bool:
        """Tell whether the owner took up a request."""
        with self._db.read() as db:
            row = db.execute('SELECT taken_at FROM request WHERE number = ?', (number,)).fetchone()
        return row is not None and row[0] is not None

    def prune(self, before: float) -> int:
        """Forget swaps that ended before a time (seconds since the epoch); return how many.

        Those that something is owed for stay, and those that libvirt knows nothing of.
        """
        kept = {duty.swap_id for duty in self.duties.owed()}
        # What libvirt does not know stays known here.
        kept |= {one.id for one in self.records() if one.method == QMP}
        marks = ', '.join('?' * len(kept))
        with self._db.write() as db:
            return db.execute(
                f'DELETE FROM swap WHERE state IN ({rows.ENDED_STATES}) AND updated_at < ?'  # noqa: S608
                f' AND id NOT IN ({marks})',
                (before, *kept),
            ).rowcount

    @property
    def draining(self) -> bool:
        """Whether new swaps are refused on this host."""
        if not self.exists():
            return False
        with self._db.read() as db:
            row = db.execute('SELECT value FROM setting WHERE name = ?', (_DRAIN,)).fetchone()
        return row is not None and row[0] == 'on'

    def drain(self, on: bool) -> None:
        """Refuse new swaps on this host from now on, or take them again."""
        with self._db.write() as db:
            db.execute(
                'INSERT INTO setting (name, value) VALUES (?, ?)'
                ' ON CONFLICT (name) DO UPDATE SET value = excluded.value',
                (_DRAIN, 'on' if on else 'off'),
            )

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Make several calls one unit; who else writes waits. For the budget."""
        with self._db.write():
            yield

    def close(self) -> None:
        """Close the calling thread's connection."""
        self._db.close()

    def _update(self, swap_id: str, column: str, value: int | str | None) -> None:
        with self._db.write() as db:
            db.execute(
                f'UPDATE swap SET {column} = ?, updated_at = ? WHERE id = ?',  # noqa: S608
                (value, time.time(), swap_id),
            )


def _add_step(db: sqlite3.Connection, swap_id: str, state: SwapState, detail: str) -> None:
    db.execute(
        'INSERT INTO step (swap_id, at, state, detail) VALUES (?, ?, ?, ?)',
        (swap_id, time.time(), state.value, detail),
    )


def _state_of(db: sqlite3.Connection, swap_id: str) -> SwapState:
    row = db.execute('SELECT state FROM swap WHERE id = ?', (swap_id,)).fetchone()
    if row is None:
        raise exception.SwapNotFound(f'no swap {swap_id}')
    return SwapState(row[0])
