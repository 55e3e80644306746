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
"""Run the command in a process that stands still, dies or is deceived from one state on.

``python -m tests.faults.station WHAT:STATE ...`` runs ``blockmirror ...``. WHAT is done at the
write of STATE to the journal:

before, after   the process kills itself right before or after it
stop            the process stops itself right after it
lost, late, doubled
                from then on libvirt's events do not come, come late, or come twice
forward, back   the clock is set right after it

Nothing in the product knows of it.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from blockmirror_driver.cli.main import main
from blockmirror_driver.swap.journal import Journal
from blockmirror_driver.swap.record import SwapRecord
from blockmirror_driver.swap.states import SwapState
from blockmirror_driver.swap.turn import Turn
from blockmirror_driver.virt.events import BlockJobEvent, LifecycleEvent
from blockmirror_driver.virt.subscriptions import Fanout

_LATE_S = 3.0
_DAY_S = 86400.0
_now = time.time
_publish = Fanout.publish


def _lost(_self: Fanout, _event: Any) -> None:
    return


def _late(self: Fanout, event: Any) -> None:
    timer = threading.Timer(_LATE_S, _publish, (self, event))
    timer.daemon = True
    timer.start()


def _doubled(self: Fanout, event: Any) -> None:
    _publish(self, event)
    _publish(self, event)


def _deceive(how: Callable[..., None]) -> None:
    def publish(self: Fanout, event: Any) -> None:
        told_by_libvirt = isinstance(event, BlockJobEvent | LifecycleEvent)
        (how if told_by_libvirt else _publish)(self, event)

    Fanout.publish = publish  # type: ignore[method-assign]


def _set_clock(seconds: float) -> None:
    time.time = lambda: _now() + seconds


_AFTER: dict[str, Callable[[], None]] = {
    'before': lambda: None,
    'after': lambda: os.kill(os.getpid(), signal.SIGKILL),
    'stop': lambda: os.kill(os.getpid(), signal.SIGSTOP),
    'lost': lambda: _deceive(_lost),
    'late': lambda: _deceive(_late),
    'doubled': lambda: _deceive(_doubled),
    'forward': lambda: _set_clock(_DAY_S),
    'back': lambda: _set_clock(-_DAY_S),
}


def arm(what: str, state: SwapState) -> None:
    """Let it happen at the first write of that state; the first of all is a reservation.

    PREPARED is written twice, and what stands still in it does so once there is something.
    """
    waiting = [state] * (2 if (what, state) == ('stop', SwapState.PREPARED) else 1)

    def around(written: SwapState, write: Callable[[], None]) -> None:
        now = waiting[:1] == [written]
        if now and what == 'before':
            os.kill(os.getpid(), signal.SIGKILL)
        write()
        if now:
            del waiting[0]
            if not waiting:
                _AFTER[what]()

    advance, reserve = Journal.advance, Turn.reserve

    def advancing(self: Journal, swap_id: str, new: SwapState, *args: Any, **more: Any) -> None:
        around(new, lambda: advance(self, swap_id, new, *args, **more))

    def reserving(*args: Any) -> tuple[SwapRecord, ...] | None:
        found: list[tuple[SwapRecord, ...] | None] = []
        around(SwapState.PLANNED, lambda: found.append(reserve(*args)))
        return found[0]

    Journal.advance = advancing  # type: ignore[method-assign,assignment]
    Turn.reserve = reserving  # type: ignore[method-assign,assignment]


if __name__ == '__main__':
    what_text, _, state_text = sys.argv.pop(1).partition(':')
    arm(what_text, SwapState(state_text))
    sys.exit(main(sys.argv[1:]))
