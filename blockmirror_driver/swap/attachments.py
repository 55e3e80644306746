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
"""Which volumes are connected to this host, and how: a table beside the swaps.

Whoever connects a volume records it here first, and owns the disk secrets that are defined
for it; the sweep leaves them alone as long as the record is there.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import astuple, dataclass, field
from pathlib import Path

from blockmirror_driver.swap.database import Database

_TABLE = """
CREATE TABLE IF NOT EXISTS attachment (
    instance_uuid TEXT NOT NULL,
    volume TEXT NOT NULL,
    how TEXT NOT NULL,
    owner TEXT NOT NULL,
    at REAL NOT NULL,
    PRIMARY KEY (instance_uuid, volume)
) STRICT
"""


@dataclass(frozen=True, slots=True)
class Attachment:
    """One volume of one guest.

    :param volume: names it on its backend, as :meth:`Source.describe` does: Cinder gives a
        volume that was migrated another id, not another image.
    :param how: the word of who connected it.
    :param owner: of the secrets that were defined for it.
    :param at: seconds since the epoch.
    """

    instance_uuid: str
    volume: str
    how: str
    owner: str
    at: float = field(default_factory=time.time)


class AttachmentStore:
    """The table. Any thread may call.

    :param path: the journal's file.
    :raise JournalUnusable: from every method, which has then changed nothing.
    """

    def __init__(self, path: Path) -> None:
        self._database = Database(path)
        self._made = False

    def put(self, attachment: Attachment) -> None:
        """Record a volume, before it is connected; replaces what is there of it."""
        with self._write() as db:
            db.execute(
                'INSERT OR REPLACE INTO attachment VALUES (?, ?, ?, ?, ?)', astuple(attachment)
            )

    def get(self, instance_uuid: str, volume: str) -> Attachment | None:
        """Return the record of a volume, if there is one."""
        for attachment in self.all():
            if (attachment.instance_uuid, attachment.volume) == (instance_uuid, volume):
                return attachment
        return None

    def all(self) -> tuple[Attachment, ...]:
        """Return all records."""
        self._make()
        with self._database.read() as db:
            found = db.execute('SELECT instance_uuid, volume, how, owner, at FROM attachment')
            return tuple(Attachment(*row) for row in found)

    def has_owner(self, owner: str) -> bool:
        """Tell whether secrets of this owner belong to a volume that is connected."""
        return any(attachment.owner == owner for attachment in self.all())

    def delete(self, instance_uuid: str, volume: str) -> None:
        """Delete the record of a volume, after it was disconnected."""
        with self._write() as db:
            db.execute(
                'DELETE FROM attachment WHERE instance_uuid = ? AND volume = ?',
                (instance_uuid, volume),
            )

    @contextlib.contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        self._make()
        with self._database.write() as db:
            yield db

    def _make(self) -> None:
        """Make the table in a journal that has none."""
        if not self._made:
            with self._database.write() as db:
                db.execute(_TABLE)
            self._made = True
