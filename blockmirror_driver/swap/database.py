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
"""The journal's file: opened with the right owner and mode, written in whole transactions."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

from blockmirror_driver import exception
from blockmirror_driver.swap import rows


class Database:
    """One sqlite3 file. Any thread may call; each has a connection of its own.

    :param path: the file; it and its directory are created by the first write.
    :raise JournalUnusable: from every method, when sqlite or the file system refuses.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._local = threading.local()

    @contextlib.contextmanager
    def write(self, *, durable: bool = True) -> Iterator[sqlite3.Connection]:
        """A write transaction, whole or not at all; one within another joins it.

        :param durable: whether it is on the disk when this returns. Else a host that dies may
            take it along, though a process that dies does not; the next durable write, by
            anybody, brings it to the disk too.
        """
        with self._translated():
            db = self._connection()
            if db.in_transaction:
                yield db
                return
            # In WAL mode NORMAL leaves out the fsync of a commit, and no more than that.
            db.execute(f'PRAGMA synchronous={"FULL" if durable else "NORMAL"}')
            db.execute('BEGIN IMMEDIATE')
            try:
                yield db
                db.execute('COMMIT')
            except BaseException:
                _roll_back(db)
                raise

    @contextlib.contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """A connection to read from."""
        with self._translated():
            yield self._connection()

    def close(self) -> None:
        """Close the calling thread's connection."""
        db: sqlite3.Connection | None = getattr(self._local, 'db', None)
        if db is not None:
            db.close()
            self._local.db = None

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise exception.JournalUnusable(f'journal {self.path}: {error}') from error

    def _connection(self) -> sqlite3.Connection:
        db: sqlite3.Connection | None = getattr(self._local, 'db', None)
        if db is None:
            db = self._local.db = self._open()
        return db

    def _open(self) -> sqlite3.Connection:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = not self.path.exists()
        if fresh:
            os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
        _keep_ownership(self.path)
        # Autocommit: transactions are begun by hand, so that they are IMMEDIATE.
        db = sqlite3.connect(self.path, timeout=10, isolation_level=None)
        try:
            db.execute('PRAGMA journal_mode=WAL')
            db.execute('PRAGMA foreign_keys=ON')
            # sqlite gives -wal and -shm the mode of the main file, but not its owner.
            _keep_ownership(Path(f'{self.path}-wal'), Path(f'{self.path}-shm'))
            self._migrate(db)
        except BaseException:
            db.close()
            raise
        return db

    def _migrate(self, db: sqlite3.Connection) -> None:
        db.execute('BEGIN IMMEDIATE')
        try:
            version = db.execute('PRAGMA user_version').fetchone()[0]
            if version > rows.SCHEMA_VERSION:
                raise exception.JournalUnusable(
                    f'journal {self.path} is of schema {version}, not {rows.SCHEMA_VERSION}',
                    hint='it was written by a newer release; upgrade this one',
                )
            if version < rows.SCHEMA_VERSION:
                for upgrade in rows.UPGRADES[version:]:
                    for statement in filter(str.strip, upgrade.split(';')):
                        db.execute(statement)
                db.execute(f'PRAGMA user_version = {rows.SCHEMA_VERSION}')
            db.execute('COMMIT')
        except BaseException:
            _roll_back(db)
            raise


def _roll_back(db: sqlite3.Connection) -> None:
    """End what is open: a COMMIT that failed leaves it so, a full disk may have ended it."""
    if db.in_transaction:
        db.execute('ROLLBACK')


def _keep_ownership(*paths: Path) -> None:
    """Give files that root made to the owner of their directory (nova, in Nova)."""
    if os.geteuid() != 0:
        return
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            parent = path.parent.stat()
            os.chown(path, parent.st_uid, parent.st_gid)
