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
"""The journal's tables, and how a row becomes a record and back."""

from __future__ import annotations

import json

from blockmirror_driver.swap.owner import Owner
from blockmirror_driver.swap.record import SwapRecord
from blockmirror_driver.swap.request import Ending
from blockmirror_driver.swap.states import ENDED, SwapState

_FIRST = """
CREATE TABLE swap (
    id TEXT PRIMARY KEY,
    domain_name TEXT NOT NULL,
    domain_uuid TEXT NOT NULL,
    dev TEXT NOT NULL,
    state TEXT NOT NULL,
    ending TEXT NOT NULL,
    source_xml TEXT NOT NULL,
    destination_xml TEXT NOT NULL,
    source_desc TEXT NOT NULL,
    destination_desc TEXT NOT NULL,
    size INTEGER NOT NULL,
    serial TEXT,
    bandwidth INTEGER NOT NULL,
    hold INTEGER NOT NULL,
    pivot_requested INTEGER NOT NULL DEFAULT 0,
    owner TEXT,
    created_at REAL NOT NULL,
    updated_at REAL NOT NULL,
    cur INTEGER NOT NULL DEFAULT 0,
    end INTEGER NOT NULL DEFAULT 0,
    rate INTEGER NOT NULL DEFAULT 0,
    dirty_rate INTEGER NOT NULL DEFAULT 0,
    eta REAL,
    detail TEXT NOT NULL DEFAULT '',
    exit_code INTEGER,
    options TEXT NOT NULL DEFAULT '{}',
    guest_run TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE UNIQUE INDEX swap_one_per_disk ON swap (domain_uuid, dev)
    WHERE state NOT IN ('cleaned', 'reverted', 'finished');
CREATE TABLE step (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    swap_id TEXT NOT NULL REFERENCES swap (id) ON DELETE CASCADE,
    at REAL NOT NULL,
    state TEXT NOT NULL,
    detail TEXT NOT NULL
) STRICT;
CREATE TABLE request (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    swap_id TEXT NOT NULL REFERENCES swap (id) ON DELETE CASCADE,
    kind TEXT NOT NULL,
    argument INTEGER NOT NULL DEFAULT 0,
    at REAL NOT NULL,
    taken_at REAL
) STRICT;
"""
#: Who asked for a swap, what is owed afterwards, and what is set for the whole host.
_SECOND = """
ALTER TABLE swap ADD COLUMN door TEXT NOT NULL DEFAULT '';
CREATE TABLE duty (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    swap_id TEXT NOT NULL REFERENCES swap (id) ON DELETE CASCADE,
    side TEXT NOT NULL,
    name TEXT NOT NULL,
    argument TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    error TEXT NOT NULL DEFAULT '',
    due_at REAL NOT NULL,
    done_at REAL,
    UNIQUE (swap_id, side, name)
) STRICT;
CREATE TABLE setting (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;
"""
#: What a swap may move of a shared limit, and who waits for a turn.
_THIRD = """
ALTER TABLE swap ADD COLUMN granted INTEGER NOT NULL DEFAULT 0;
CREATE TABLE ticket (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    owner TEXT NOT NULL,
    wants TEXT NOT NULL,
    disks TEXT NOT NULL,
    at REAL NOT NULL
) STRICT;
"""
#: The statements that lead from each version of the schema to the next, from an empty file on.
UPGRADES = (_FIRST, _SECOND, _THIRD)
SCHEMA_VERSION = len(UPGRADES)

#: Columns of a swap, in the order of the record's fields.
COLUMNS = ', '.join(SwapRecord.__dataclass_fields__)

#: SQL list of the states that nobody leaves.
ENDED_STATES = ', '.join(f"'{state.value}'" for state in sorted(ENDED, key=lambda s: s.value))


def owner_text(owner: Owner | None) -> str | None:
    """Write an owner as one column."""
    if owner is None:
        return None
    return json.dumps([owner.boot_id, owner.pid, owner.start_time])


def owner_of(text: str | None) -> Owner | None:
    """Read an owner back."""
    return None if text is None else Owner(*json.loads(text))


def row_of(record: SwapRecord) -> tuple[object, ...]:
    """Write a record as the values of a row."""
    values = {name: getattr(record, name) for name in SwapRecord.__dataclass_fields__}
    values['state'] = record.state.value
    values['ending'] = record.ending.value
    values['owner'] = owner_text(record.owner)
    values['hold'] = int(record.hold)
    values['pivot_requested'] = int(record.pivot_requested)
    return tuple(values.values())


def record_of(row: tuple[object, ...]) -> SwapRecord:
    """Read a row back."""
    values = dict(zip(SwapRecord.__dataclass_fields__, row, strict=True))
    values['state'] = SwapState(values['state'])
    values['ending'] = Ending(values['ending'])
    values['owner'] = owner_of(values['owner'])  # type: ignore[arg-type]
    values['hold'] = bool(values['hold'])
    values['pivot_requested'] = bool(values['pivot_requested'])
    return SwapRecord(**values)  # type: ignore[arg-type]
