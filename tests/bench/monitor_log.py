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

READY and COMPLETED have QEMU's time (microseconds). The start of the copy and the request for the
pivot are when libvirtd took up the call (milliseconds), so that what libvirtd does itself counts
to the copy, and to the pivot.
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
_WORDS = (b'BLOCK_JOB_', b'BlockJobAbort', b'virDomainBlockCopy:', b'virDomainBlockRebase:')
_START = re.compile(r'^(\S+ \S+): \d+: debug : virDomainBlock(?:Copy|Rebase):\d+ : ')
#: VIR_DOMAIN_BLOCK_JOB_ABORT_PIVOT (libvirt-domain.h)
_PIVOT = 2


@dataclass
class Moments:
    """Of one copy, seconds since the epoch; None where the log says nothing."""

    called: float | None = None
    ready: float | None = None
    asked: float | None = None
    completed: float | None = None

    @property
    def copy_s(self) -> float | None:
        """From the call that starts the copy to READY."""
        return _between(self.called, self.ready)

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
        elif start := _START.search(line):
            found.called = found.called or _moment(start[1])
        elif (call := _CALL.search(line)) and int(call[2], 16) & _PIVOT:
            found.asked = _moment(call[1])
    return found


def ready_times(lines: Iterable[str]) -> list[float]:
    """When each of several copies was ready, seconds since the epoch, in that order."""
    found = (_EVENT.search(line) for line in lines)
    ready = [one for one in found if one and one[3] == 'BLOCK_JOB_READY']
    return sorted(int(one[1]) + int(one[2]) / 1e6 for one in ready)


@contextlib.contextmanager
def watched_lines(path: Path) -> Iterator[list[str]]:
    """Yield what has libvirtd's lines about block jobs of that time once the body is over."""
    begun = path.stat().st_size
    lines: list[str] = []
    yield lines
    with path.open('rb') as log:
        log.seek(begun)
        # The log is of everything.
        wanted = (line for line in log if any(word in line for word in _WORDS))
        lines += [line.decode(errors='replace') for line in wanted]


@contextlib.contextmanager
def watched(path: Path) -> Iterator[Moments]:
    """Yield what has the moments of the one copy of that time once the body is over."""
    seen = Moments()
    with watched_lines(path) as lines:
        yield seen
    told = read(lines)
    seen.called, seen.ready = told.called, told.ready
    seen.asked, seen.completed = told.asked, told.completed


def _moment(text: str) -> float:
    return dt.datetime.fromisoformat(text).timestamp()


def _between(begun: float | None, ended: float | None) -> float | None:
    return None if begun is None or ended is None else ended - begun
