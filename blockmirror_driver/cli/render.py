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
"""Values as text for people."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from blockmirror_driver.model import Disk, format_bytes

if TYPE_CHECKING:
    # Late: the journal needs sqlite3, and `blockmirror xml` nothing of it.
    from blockmirror_driver.swap.duties import Duty
    from blockmirror_driver.swap.journal import Step
    from blockmirror_driver.swap.record import Outcome, SwapRecord


def pretty(disk: Disk) -> str:
    """Return the disk's XML, indented, with a line feed at the end.

    :raise InvalidDisk: when it can't be written as XML.
    """
    return disk.to_xml() + '\n'


def moment(at: float) -> str:
    """Return a time (seconds since the epoch) as ISO 8601 in UTC."""
    return dt.datetime.fromtimestamp(at, dt.UTC).isoformat(timespec='seconds')


def owner(record: SwapRecord) -> str:
    """Return who runs the swap: a process, nobody any more, or none."""
    if record.owner is None:
        return 'none'
    return f'pid {record.owner.pid}' if record.owner_alive else f'gone (pid {record.owner.pid})'


def percent(record: SwapRecord) -> str:
    """Return how much was moved; empty while it is not known."""
    return f'{min(1.0, record.cur / record.end):.0%}' if record.end > 0 else ''


#: Of :func:`outcome`.
OUTCOME_COLUMNS = (
    'swap_id',
    'state',
    'domain',
    'disk',
    'source',
    'destination',
    'bytes_moved',
    'seconds',
    'pivot_seconds',
    'exit_code',
    'notes',
)
#: Of :func:`record`.
RECORD_COLUMNS = (
    'swap_id',
    'domain',
    'domain_uuid',
    'disk',
    'state',
    'ending',
    'source',
    'destination',
    'size',
    'moved',
    'to_move',
    'rate',
    'dirty_rate',
    'eta',
    'bandwidth',
    'hold',
    'owner',
    'created_at',
    'updated_at',
    'exit_code',
    'detail',
)


def outcome(result: Outcome) -> dict[str, Any]:
    """Return an outcome as columns; sizes in bytes, times in seconds."""
    return {
        'swap_id': result.swap_id,
        'state': result.state.value,
        'domain': result.domain,
        'disk': result.dev,
        'source': result.source,
        'destination': result.destination,
        'bytes_moved': result.bytes_moved,
        'seconds': round(result.seconds, 3),
        'pivot_seconds': None if result.pivot_seconds is None else round(result.pivot_seconds, 3),
        'exit_code': result.exit_code,
        'notes': '\n'.join(result.notes),
    }


def record(row: SwapRecord) -> dict[str, Any]:
    """Return a swap as columns; sizes in bytes, rates in bytes/s, times in ISO 8601."""
    return {
        'swap_id': row.id,
        'domain': row.domain_name,
        'domain_uuid': row.domain_uuid,
        'disk': row.dev,
        'state': row.state.value,
        'ending': row.ending.value,
        'source': row.source_desc,
        'destination': row.destination_desc,
        'size': row.size,
        'moved': row.cur,
        'to_move': row.end,
        'rate': row.rate,
        'dirty_rate': row.dirty_rate,
        'eta': row.eta,
        'bandwidth': row.granted or row.bandwidth,
        'hold': row.hold,
        'owner': owner(row),
        'created_at': moment(row.created_at),
        'updated_at': moment(row.updated_at),
        'exit_code': row.exit_code,
        'detail': row.detail,
    }


def steps(history: tuple[Step, ...]) -> list[dict[str, str]]:
    """Return a history as rows."""
    return [
        {'at': moment(step.at), 'state': step.state.value, 'detail': step.detail}
        for step in history
    ]


def duties(owed: tuple[Duty, ...]) -> list[dict[str, Any]]:
    """Return what is still owed to others once a swap has ended."""
    return [
        {'step': one.name, 'attempts': one.attempts, 'error': one.error, 'due': moment(one.due_at)}
        for one in owed
    ]


def markdown(row: SwapRecord, history: tuple[Step, ...]) -> str:
    """Return the summary of one swap as Markdown."""
    volumes = f'{row.source_desc} to {row.destination_desc}, {format_bytes(row.size)}'
    lines = [
        f'# Swap {row.id}',
        '',
        f'{_cell(f"{row.dev} of {row.domain_name}: {volumes}")}. State: **{row.state.value}**.',
        '',
        '| what | value |',
        '|---|---|',
    ]
    lines += [f'| {name} | {_cell(value)} |' for name, value in record(row).items()]
    lines += ['', '## What happened', '', '| at | state | detail |', '|---|---|---|']
    lines += [
        f'| {step["at"]} | {step["state"]} | {_cell(step["detail"])} |' for step in steps(history)
    ]
    return '\n'.join(lines) + '\n'


def _cell(value: object) -> str:
    return '' if value is None else str(value).replace('\\', '\\\\').replace('|', '\\|')
