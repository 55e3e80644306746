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

import os
from dataclasses import dataclass
from pathlib import Path

_PROC = Path('/proc')


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
        return cls(_boot_id(), pid, _start_time(pid) or 0)

    @property
    def is_alive(self) -> bool:
        """Tell whether that very process still runs; a zombie does not."""
        return self.boot_id == _boot_id() and _start_time(self.pid) == self.start_time


def _boot_id() -> str:
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
