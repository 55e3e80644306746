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
"""A swap as the journal and the caller see it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from blockmirror_driver.mirror.progress import Progress
from blockmirror_driver.swap.owner import Owner
from blockmirror_driver.swap.request import Ending
from blockmirror_driver.swap.states import SwapState


@dataclass(frozen=True, slots=True)
class SwapRecord:
    """One row of the journal.

    ``source_xml`` and ``destination_xml`` are ``<disk>`` elements in which secrets are
    references only; the ``*_desc`` name the volumes without addresses. Times are seconds
    since the epoch, sizes are bytes, rates are bytes/s. ``guest_run`` names the run of the
    guest that the swap began in (see :func:`~blockmirror_driver.swap.evidence.run_of`), empty
    when it is not known. ``bandwidth`` is
    its own, 0 without one; ``granted`` is what its copy may move at the most where a budget counts
    bytes/s, else 0. ``door`` is what whoever asked for the swap needs to know of it later;
    it never holds a secret.
    """

    id: str
    domain_name: str
    domain_uuid: str
    dev: str
    state: SwapState
    ending: Ending
    source_xml: str = field(repr=False)
    destination_xml: str = field(repr=False)
    source_desc: str
    destination_desc: str
    size: int
    serial: str | None
    bandwidth: int
    hold: bool
    pivot_requested: bool
    owner: Owner | None
    created_at: float
    updated_at: float
    cur: int = 0
    end: int = 0
    rate: int = 0
    dirty_rate: int = 0
    eta: float | None = None
    detail: str = ''
    exit_code: int | None = None
    options: str = field(default='{}', repr=False)
    guest_run: str = ''
    door: str = field(default='', repr=False)
    granted: int = 0

    @property
    def method(self) -> str:
        """The way to copy that it was started with, ``auto`` where that is not known."""
        return str(json.loads(self.options).get('method', 'auto'))

    @property
    def owner_alive(self) -> bool:
        """Whether the owning process still runs; ``False`` when nobody owns the swap."""
        return self.owner is not None and self.owner.is_alive


@dataclass(frozen=True, slots=True)
class SwapEvent:
    """One thing that happened, for a progress bar, a log or ``--events jsonl``.

    ``event`` is one of plan, start, state, progress, ready, end, error; ``time`` is seconds
    since the epoch.
    """

    time: float
    swap_id: str
    event: str
    state: SwapState
    detail: str = ''
    progress: Progress | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return it as the published schemas have it; times in seconds, sizes in bytes."""
        progress = self.progress
        return {
            'time': self.time,
            'swap_id': self.swap_id,
            'event': self.event,
            'state': self.state.value,
            'detail': self.detail,
            'progress': None
            if progress is None
            else {
                'cur': int(progress.cur),
                'end': int(progress.end),
                'rate': int(progress.rate),
                'dirty_rate': int(progress.dirty_rate),
                'eta': None if progress.eta is None else float(progress.eta),
                'stalled_for': float(progress.stalled_for),
            },
        }


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a swap ended. ``seconds`` is from the start of the copy to its end."""

    swap_id: str
    state: SwapState
    domain: str
    dev: str
    source: str
    destination: str
    bytes_moved: int
    seconds: float
    exit_code: int
    pivot_seconds: float | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RecoverResult:
    """What recovery made of one swap."""

    swap_id: str
    state: SwapState
    exit_code: int
    message: str
