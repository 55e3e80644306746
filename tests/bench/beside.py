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
"""Swaps side by side by one process, over several guests."""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tests.bench import measured
from tests.bench.cases import MIB
from tests.bench.contenders import Resident
from tests.bench.monitor_log import ready_times, watched_lines
from tests.bench.programs import Program
from tests.lab.guest.domain import Domain
from tests.lab.guest.guest import Guest
from tests.lab.lab import Lab
from tests.lab.pattern import Fill
from tests.lab.volumes import FileVolume

COUNTS = (1, 8, 32)
#: Disks of one guest.
_DISKS = 8
_SIZE, _DATA = 64 * MIB, 32 * MIB
#: Seconds that all copies are watched at the same time, and those that each more takes to begin.
_WATCHED_S, _BEGIN_S = 15.0, 2.0
_DEADLINE = 900.0
_LOOK_S = 1.0
#: Looks from one figure of CPU to the next: a process is told in ticks, which are coarse, but its
#: threads that have ended count.
_TOLD_EACH = 5


@dataclass(frozen=True)
class _Look:
    """A process at one moment (monotonic seconds); memory in KiB."""

    at: float
    cpu_s: float
    threads: int
    rss_kib: int


class _Looks(threading.Thread):
    """Looks at a process each second."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.over = threading.Event()
        self.seen: list[_Look] = []
        self._pid = pid

    def run(self) -> None:
        while not self.over.wait(_LOOK_S):
            self.seen.append(_look(self._pid))

    def between(self, begun: float, ended: float) -> dict[str, list[float]]:
        """What was seen then: CPU (per cent of a core), threads, memory."""
        seen = [one for one in self.seen if begun <= one.at <= ended]
        pairs = itertools.pairwise(seen[::_TOLD_EACH])
        return {
            'cpu_percent': [round(100 * (b.cpu_s - a.cpu_s) / (b.at - a.at), 3) for a, b in pairs],
            'threads': [float(one.threads) for one in seen],
            'rss_kib': [float(one.rss_kib) for one in seen],
        }


def _look(pid: int) -> _Look:
    threads, rss = measured.status(pid, 'Threads'), measured.status(pid, 'VmRSS')
    return _Look(time.monotonic(), measured.cpu_s(pid), threads, rss)


def run(lab: Lab, counts: Sequence[int], keep: Callable[[dict[str, Any]], None]) -> None:
    """Measure each count, from a process of its own."""
    for count in counts:
        keep(_measure(lab, count))
        print(f'{count} side by side', flush=True)


def _measure(lab: Lab, count: int) -> dict[str, Any]:
    # Not so fast that the first has ended before the last has begun.
    bandwidth = int(_DATA / (_WATCHED_S + _BEGIN_S * count))
    config = Resident(lab).configure()
    argv = [sys.executable, '-m', 'tests.bench.resident', str(config)]
    log = lab.layout.scratch / 'bench-beside.log'
    with _disks(lab, count) as disks, contextlib.ExitStack() as stack:
        destinations = [stack.enter_context(FileVolume(lab).create(_SIZE)) for _ in disks]
        swaps = [
            {'domain': guest.name, 'dev': dev, 'connection': volume.connection_info()}
            for (guest, dev), volume in zip(disks, destinations, strict=True)
        ]
        program = Program('resident', argv, log)
        stack.callback(program.close)
        looks = _Looks(program.process.pid)
        looks.start()
        try:
            with watched_lines(lab.libvirtd.debug_log) as lines:
                options = {'bandwidth': bandwidth}
                told = program.ask({'swaps': swaps, 'options': options}, _DEADLINE)
        finally:
            looks.over.set()
            looks.join()
        begun, ended = told['all_copying'], told['first_ready']
        # Of as many as there are, the first that was ready is the first that was noticed.
        ready, noticed = ready_times(lines), sorted(told['ready_at'])
        pairs = zip(ready, noticed, strict=True) if len(ready) == len(noticed) else ()
        return {
            'swaps': count,
            'guests': len({guest.name for guest, _ in disks}),
            'seconds': told['seconds'],
            'copying_s': ended - begun if begun and ended else 0.0,
            'peak_kib': measured.status(program.process.pid, 'VmHWM'),
            'latency_ms': [round(1000 * (seen - at), 3) for at, seen in pairs],
            'errors': told['errors'],
            **looks.between(begun or 0.0, (ended or 0.0) if begun else 0.0),
        }


@contextlib.contextmanager
def _disks(lab: Lab, count: int) -> Iterator[list[tuple[Guest, str]]]:
    """So many disks to move, of as few guests as may be."""
    with contextlib.ExitStack() as stack:
        found: list[tuple[Guest, str]] = []
        for number, first in enumerate(range(0, count, _DISKS)):
            devs = [f'vd{chr(ord("a") + at)}' for at in range(min(_DISKS, count - first))]
            volumes = [stack.enter_context(FileVolume(lab).create(_SIZE)) for _ in devs]
            for volume in volumes:
                volume.write(Fill(seed=number + 1, length=_DATA), _DATA)
            disks = [one.disk_xml(dev) for one, dev in zip(volumes, devs, strict=True)]
            name = f'beside-{os.getpid()}-{number}'
            guest = stack.enter_context(Guest(lab, Domain(name, disks, memory_mib=160)))
            guest.start()
            found += [(guest, dev) for dev in devs]
        yield found
