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
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from oslo_log import log as logging

from blockmirror_driver import conf as our_conf
from blockmirror_driver import disk_for, exception
from blockmirror_driver.mirror.options import CopyOptions
from blockmirror_driver.swap.record import SwapEvent
from blockmirror_driver.swap.request import SwapRequest
from blockmirror_driver.swap.service import SwapService
from blockmirror_driver.swap.states import SwapState
from tests.bench.programs import own_stdout, serve

#: What of a copy is done when its ETA is judged.
_FIFTH = 0.2
#: Swaps that are planned at the same time.
_PLANNED = 2


@dataclass
class _Marks:
    """When all copies had begun, and when the first was ready (monotonic seconds).

    In between nothing is done but to watch them.

    :ivar ready_at: when each was noticed to be ready, seconds since the epoch
    :ivar fifth: when a fifth of one was copied, and how long the rest was said to take; of several
        the first
    :ivar eta: what was said then over what it took
    """

    count: int
    copying: set[str] = field(default_factory=set)
    all_copying: float | None = None
    first_ready: float | None = None
    ready_at: list[float] = field(default_factory=list)
    fifth: tuple[float, float] | None = None
    eta: float | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def observe(self, event: SwapEvent) -> None:
        """Take note of an event of any of the swaps; any thread."""
        with self.lock:
            self._tell_eta(event)
            if event.state is SwapState.COPYING:
                self.copying.add(event.swap_id)
                if len(self.copying) == self.count and self.all_copying is None:
                    self.all_copying = time.monotonic()
            elif event.event == 'ready':
                self.ready_at.append(event.time)
                self.first_ready = self.first_ready or time.monotonic()

    def _tell_eta(self, event: SwapEvent) -> None:
        told = event.progress
        if event.event == 'ready' and self.fifth is not None and self.eta is None:
            at, eta = self.fifth
            self.eta = eta / (time.monotonic() - at)
        elif told is not None and told.eta and told.fraction >= _FIFTH and self.fifth is None:
            self.fifth = time.monotonic(), told.eta


class _Turn:
    """One swap's turn to be planned: it ends when the copy has begun, or the swap is over.

    A probe is given up after a while, and that of many at the same time would be on a slow host.
    """

    def __init__(
        self, planning: threading.Semaphore, observe: Callable[[SwapEvent], None]
    ) -> None:
        self._planning = planning
        self._observe = observe
        self._has_it = True
        planning.acquire()

    def observe(self, event: SwapEvent) -> None:
        """End the turn when the copy runs; then tell of the event."""
        if event.state is SwapState.COPYING and event.event == 'progress':
            self.over()
        self._observe(event)

    def over(self) -> None:
        """Let another have its turn. Once is enough."""
        if self._has_it:
            self._has_it = False
            self._planning.release()


class Resident:
    """The program's state: one service, and another of the same kind for each swap."""

    def __init__(self, config: str) -> None:
        conf = our_conf.CONF
        logging.register_options(conf)
        conf([f'--config-file={config}'], project='blockmirror')
        self._conf = conf
        self._planning = threading.Semaphore(_PLANNED)
        self._service = SwapService.from_conf(conf)
        self._service.hypervisor  # noqa: B018 - it is opened now, not in the first swap

    def act(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Make the swaps of ``{"swaps": [{"domain", "dev", "connection"}], "options": {}}``.

        The options are fields of ``CopyOptions``.
        """
        wanted = asked['swaps']
        marks = _Marks(len(wanted))
        begun = time.monotonic()

        def one(swap: dict[str, Any]) -> str:
            turn = _Turn(self._planning, marks.observe)
            disk = disk_for(swap['connection'], swap['dev'], conf=self._conf)
            options = CopyOptions.from_conf(self._conf, **asked['options'])
            request = SwapRequest(swap['domain'], swap['dev'], disk, options)
            service = self._service.another()
            try:
                service.run(request, observer=turn.observe)
            except exception.BlockmirrorError as error:
                return str(error)
            finally:
                turn.over()
            return ''

        with ThreadPoolExecutor(len(wanted)) as pool:
            errors = [error for error in pool.map(one, wanted) if error]
        return {
            'seconds': time.monotonic() - begun,
            'errors': errors,
            'all_copying': marks.all_copying,
            'first_ready': marks.first_ready,
            'ready_at': marks.ready_at,
            'eta': marks.eta,
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
