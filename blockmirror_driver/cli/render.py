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
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from blockmirror_driver.model import Disk, format_bytes

if TYPE_CHECKING:
    # Late: the journal needs sqlite3, and `blockmirror xml` nothing of it.
    from blockmirror_driver.swap.duties import Duty
    from blockmirror_driver.swap.journal import Step
    from blockmirror_driver.swap.owner import Owner
    from blockmirror_driver.swap.record import Outcome, SwapRecord


def pretty(disk: Disk) -> str:
    """Return the disk's XML, indented, with a line feed at the end.

    :raise InvalidDisk: when it can't be written as XML.
    """
    return disk.to_xml() + '\n'


def moment(at: float) -> str:
    """Return a time (seconds since the epoch) as ISO 8601 in UTC."""
    return dt.datetime.fromtimestamp(at, dt.UTC).isoformat(timespec='seconds')


def owner(found: Owner | None) -> str:
    """Return who that is: a process, nobody any more, or none."""
    if found is None:
        return 'none'
    return f'pid {found.pid}' if found.is_alive else f'gone (pid {found.pid})'


def percent(record: SwapRecord) -> str:
    """Return how much was moved; empty while it is not known."""
    return f'{min(1.0, record.cur / record.end):.0%}' if record.end > 0 else ''


#: What a command shows of an outcome, and how it is made of it; sizes in bytes, times in seconds.
_OUTCOME: Mapping[str, Callable[[Outcome], Any]] = {
    'swap_id': lambda end: end.swap_id,
    'state': lambda end: end.state.value,
    'domain': lambda end: end.domain,
    'disk': lambda end: end.dev,
    'source': lambda end: end.source,
    'destination': lambda end: end.destination,
    'bytes_moved': lambda end: end.bytes_moved,
    'seconds': lambda end: round(end.seconds, 3),
    'pivot_seconds': lambda end: (
        None if end.pivot_seconds is None else round(end.pivot_seconds, 3)
    ),
    'exit_code': lambda end: end.exit_code,
    'notes': lambda end: '\n'.join(end.notes),
}
#: The same of a swap; rates in bytes/s, moments in ISO 8601.
_RECORD: Mapping[str, Callable[[SwapRecord], Any]] = {
    'swap_id': lambda row: row.id,
    'domain': lambda row: row.domain_name,
    'domain_uuid': lambda row: row.domain_uuid,
    'disk': lambda row: row.dev,
    'state': lambda row: row.state.value,
    'ending': lambda row: row.ending.value,
    'source': lambda row: row.source_desc,
    'destination': lambda row: row.destination_desc,
    'size': lambda row: row.size,
    'moved': lambda row: row.cur,
    'to_move': lambda row: row.end,
    'rate': lambda row: row.rate,
    'dirty_rate': lambda row: row.dirty_rate,
    'eta': lambda row: row.eta,
    'bandwidth': lambda row: row.granted or row.bandwidth,
    'hold': lambda row: row.hold,
    'owner': lambda row: owner(row.owner),
    'created_at': lambda row: moment(row.created_at),
    'updated_at': lambda row: moment(row.updated_at),
    'exit_code': lambda row: row.exit_code,
    'detail': lambda row: row.detail,
}
#: The columns of :func:`outcome` and of :func:`record`.
OUTCOME_COLUMNS, RECORD_COLUMNS = tuple(_OUTCOME), tuple(_RECORD)


def outcome(result: Outcome) -> dict[str, Any]:
    """Return an outcome as columns."""
    return {name: of(result) for name, of in _OUTCOME.items()}


def record(row: SwapRecord) -> dict[str, Any]:
    """Return a swap as columns."""
    return {name: of(row) for name, of in _RECORD.items()}


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
