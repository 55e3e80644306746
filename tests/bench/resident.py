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
"""A program that makes swaps through :class:`blockmirror_driver.swap.service.SwapService`.

It is to ours what :mod:`tests.bench.stock_nova` is to Nova's: the code as nova-compute runs it,
in a process that runs already. It may make several swaps side by side, each in a thread of its
own.
"""

from __future__ import annotations

import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from oslo_log import log as logging

from blockmirror_driver import conf as our_conf
from blockmirror_driver import disk_for
from blockmirror_driver.mirror.options import CopyOptions
from blockmirror_driver.swap.record import Outcome, SwapEvent
from blockmirror_driver.swap.request import SwapRequest
from blockmirror_driver.swap.service import SwapService
from blockmirror_driver.swap.states import SwapState
from tests.bench.programs import own_stdout, serve


@dataclass
class _Marks:
    """When all copies had begun, and when the first was ready, with the CPU time until then.

    In between nothing is done but to watch them.
    """

    count: int
    copying: set[str] = field(default_factory=set)
    all_copying: tuple[float, float] | None = None
    first_ready: tuple[float, float] | None = None
    threads: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def observe(self, event: SwapEvent) -> None:
        """Take note of an event of any of the swaps; any thread."""
        with self.lock:
            if event.state is SwapState.COPYING:
                self.copying.add(event.swap_id)
                if len(self.copying) == self.count and self.all_copying is None:
                    self.all_copying = _now()
                    self.threads = _threads()
            elif event.state is SwapState.READY and self.first_ready is None:
                self.first_ready = _now()

    def cpu_share(self) -> float | None:
        """Of one core, while all were copying; None if they never were at the same time."""
        begun, ended = self.all_copying, self.first_ready
        if begun is None or ended is None or ended[0] <= begun[0]:
            return None
        return (ended[1] - begun[1]) / (ended[0] - begun[0])

    def seconds(self) -> float | None:
        """How long they all were."""
        begun, ended = self.all_copying, self.first_ready
        return None if begun is None or ended is None else ended[0] - begun[0]


def _now() -> tuple[float, float]:
    return time.monotonic(), time.process_time()


def _status(name: str) -> int:
    """A number of ``/proc/self/status`` (proc(5))."""
    for line in Path('/proc/self/status').read_text().splitlines():
        key, _, value = line.partition(':')
        if key == name:
            return int(value.split()[0])
    raise AssertionError(name)


def _threads() -> int:
    return _status('Threads')


class Resident:
    """The program's state: one service, and another of the same kind for each swap."""

    def __init__(self, config: str) -> None:
        conf = our_conf.CONF
        logging.register_options(conf)
        conf([f'--config-file={config}'], project='blockmirror')
        self._conf = conf
        self._service = SwapService.from_conf(conf)
        self._service.hypervisor  # noqa: B018 - it is opened now, not in the first swap

    def act(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Make the swaps of ``{"swaps": [{"domain", "dev", "connection"}], "bandwidth": N}``."""
        wanted = asked['swaps']
        marks = _Marks(len(wanted))
        idle_threads, cpu = _threads(), time.process_time()
        begun = time.monotonic()

        def one(swap: dict[str, Any]) -> tuple[Outcome, float]:
            disk = disk_for(swap['connection'], swap['dev'], conf=self._conf)
            options = CopyOptions.from_conf(self._conf, bandwidth=asked.get('bandwidth', 0))
            request = SwapRequest(swap['domain'], swap['dev'], disk, options)
            service = self._service.another()
            return service.run(request, observer=marks.observe), time.monotonic() - begun

        with ThreadPoolExecutor(len(wanted)) as pool:
            done = list(pool.map(one, wanted))
        return {
            'seconds': time.monotonic() - begun,
            'each': [seconds for _, seconds in done],
            'ids': [outcome.swap_id for outcome, _ in done],
            'threads_idle': idle_threads,
            'threads': marks.threads,
            'peak_kib': _status('VmHWM'),
            'cpu_s': time.process_time() - cpu,
            'cpu_share': marks.cpu_share(),
            'copying_s': marks.seconds(),
        }

    def close(self) -> None:
        """Let go of libvirt."""
        self._service.close()


def main(argv: list[str]) -> None:
    """Serve with the configuration that is named."""
    answers = own_stdout()
    resident = Resident(argv[0])
    serve(resident.act, answers)
    resident.close()


if __name__ == '__main__':
    main(sys.argv[1:])
