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
"""Who owns a swap: a process, named so that a recycled pid is never taken for it."""

from __future__ import annotations

import contextlib
import os
import re
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from blockmirror_driver import exception

_PROC = Path('/proc')
_PLANNER = re.compile(r'plan-([0-9]{1,19})-([0-9]{1,19})-[0-9a-f]{32}')


@dataclass(frozen=True, slots=True)
class Owner:
    """A process of one boot of this host.

    ``start_time`` is field 22 of ``/proc/PID/stat`` (clock ticks since boot, see proc(5)).
    """

    boot_id: str
    pid: int
    start_time: int

    @classmethod
    def current(cls) -> Owner:
        """Return the calling process."""
        pid = os.getpid()
        return cls(boot_id(), pid, _start_time(pid) or 0)

    @property
    def is_alive(self) -> bool:
        """Tell whether that very process still runs; a zombie does not."""
        return self.boot_id == boot_id() and _start_time(self.pid) == self.start_time


def boot_id() -> str:
    """Return the id of this boot of the host."""
    return (_PROC / 'sys/kernel/random/boot_id').read_text().strip()


def _start_time(pid: int) -> int | None:
    """Return the start time of a living process, ``None`` for a dead one or a zombie."""
    try:
        stat = (_PROC / str(pid) / 'stat').read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command name stands in parentheses and may itself hold any of both.
    fields = stat.rpartition(')')[2].split()
    return None if fields[0] in 'ZX' else int(fields[19])


# -- names of planners ---------------------------------------------------------------------


def planner_name() -> str:
    """Name the secrets of one probe after this process: no swap owns them, none ever will."""
    me = Owner.current()
    return f'plan-{me.pid}-{me.start_time}-{uuid.uuid4().hex}'


def is_living_planner(name: str) -> bool:
    """Tell whether the process that :func:`planner_name` named still runs.

    The boot does not count: what a planner defines is gone with libvirtd.
    """
    found = _PLANNER.fullmatch(name)
    return found is not None and _start_time(int(found[1])) == int(found[2])


# -- swaps that a thread of this process runs ----------------------------------------------

_CLAIMED: set[str] = set()
_CLAIMED_LOCK = threading.Lock()


@contextlib.contextmanager
def claimed(swap_id: str) -> Iterator[None]:
    """Run a swap in this thread; the journal only tells processes from each other.

    :raise SwapNotOwned: when another thread of this process runs it.
    """
    with _CLAIMED_LOCK:
        if swap_id in _CLAIMED:
            raise exception.SwapNotOwned(f'swap {swap_id} is run by this very process')
        _CLAIMED.add(swap_id)
    try:
        yield
    finally:
        with _CLAIMED_LOCK:
            _CLAIMED.discard(swap_id)


def is_run(swap_id: str, owner: Owner | None) -> bool:
    """Tell whether somebody runs a swap: another living process, or a thread of this one."""
    if owner is None or not owner.is_alive:
        return False
    return owner != Owner.current() or swap_id in _CLAIMED
