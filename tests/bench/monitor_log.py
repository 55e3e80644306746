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
"""When a copy was ready, was to pivot and had pivoted, whoever drove it: by libvirtd's own log.

READY and COMPLETED have QEMU's time (microseconds). The request's is when libvirtd took up
the call (milliseconds), so that what libvirtd does itself counts to the pivot.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

_EVENT = re.compile(
    r'event=\{"timestamp": \{"seconds": (\d+), "microseconds": (\d+)\}, '
    r'"event": "(BLOCK_JOB_READY|BLOCK_JOB_COMPLETED)"'
)
_CALL = re.compile(
    r'^(\S+ \S+): \d+: debug : virDomainBlockJobAbort:\d+ : .*disk=\S+, flags=0x([0-9a-f]+)'
)
#: VIR_DOMAIN_BLOCK_JOB_ABORT_PIVOT (libvirt-domain.h)
_PIVOT = 2


@dataclass
class Moments:
    """Of one copy, seconds since the epoch; None where the log says nothing."""

    ready: float | None = None
    asked: float | None = None
    completed: float | None = None

    @property
    def request_s(self) -> float | None:
        """From READY to the request for the pivot."""
        return _between(self.ready, self.asked)

    @property
    def pivot_s(self) -> float | None:
        """From that request to COMPLETED."""
        return _between(self.asked, self.completed)


def read(lines: Iterable[str]) -> Moments:
    """Find the moments of the one copy that these lines are about."""
    found = Moments()
    for line in lines:
        if event := _EVENT.search(line):
            at = int(event[1]) + int(event[2]) / 1e6
            if event[3] == 'BLOCK_JOB_READY':
                found.ready = found.ready or at
            elif found.asked is not None:
                found.completed = found.completed or at
        elif (call := _CALL.search(line)) and int(call[2], 16) & _PIVOT:
            found.asked = dt.datetime.fromisoformat(call[1]).timestamp()
    return found


class MonitorLog:
    """libvirtd's debug log, read from where it is now on."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextlib.contextmanager
    def watched(self) -> Iterator[Moments]:
        """Yield what is filled in once the body is over."""
        begun = self._path.stat().st_size
        seen = Moments()
        yield seen
        with self._path.open('rb') as log:
            log.seek(begun)
            told = read(line.decode(errors='replace') for line in log)
        seen.ready, seen.asked, seen.completed = told.ready, told.asked, told.completed


def _between(begun: float | None, ended: float | None) -> float | None:
    return None if begun is None or ended is None else ended - begun
