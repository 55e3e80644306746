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
"""nova-compute that kills itself at one point of a swap; nothing in the product knows of it.

``python -P doomed.py before|after:POINT ...`` is ``nova-compute ...``, which sends itself SIGKILL
right before or after POINT: the journal is told of a state, or one of the duties of a swap's end
is done. After a duty means: Cinder has done it, and the answer is lost.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from nova.cmd import compute  # first: it decides how threads work

from blockmirror_driver.nova import duties
from blockmirror_driver.swap.journal import Journal
from blockmirror_driver.swap.record import SwapRecord
from blockmirror_driver.swap.states import SwapState


class Doom:
    """Where the process dies.

    :param where: ``before:POINT`` or ``after:POINT``
    """

    def __init__(self, where: str) -> None:
        self._when, _, self._point = where.partition(':')
        if self._when not in ('before', 'after') or self._point not in POINTS:
            raise SystemExit(f'doomed: no such point: {where}')

    def around(self, point: str, act: Callable[[], None]) -> None:
        """Act, and die before it or after it if this is the point."""
        self._reach('before', point)
        act()
        self._reach('after', point)

    def _reach(self, when: str, point: str) -> None:
        if (when, point) == (self._when, self._point):
            print(f'doomed: {when} {point}', flush=True)
            os.kill(os.getpid(), signal.SIGKILL)


POINTS = frozenset({state.value for state in SwapState} | {*duties.SWITCHED, *duties.KEPT})


def arm(doom: Doom) -> None:
    """Put it around each write of the journal and around each duty."""
    create, advance, do = Journal.create, Journal.advance, duties._Steps.do

    def creating(self: Journal, record: SwapRecord) -> None:
        doom.around(record.state.value, lambda: create(self, record))

    def advancing(self: Journal, swap_id: str, new: SwapState, *args: Any, **kwargs: Any) -> None:
        doom.around(new.value, lambda: advance(self, swap_id, new, *args, **kwargs))

    def doing(self: duties._Steps, name: str) -> None:
        doom.around(name, lambda: do(self, name))

    Journal.create = creating  # type: ignore[method-assign]
    Journal.advance = advancing  # type: ignore[method-assign,assignment]
    duties._Steps.do = doing  # type: ignore[method-assign]


if __name__ == '__main__':
    arm(Doom(sys.argv.pop(1)))
    sys.argv[0] = 'nova-compute'
    sys.exit(compute.main())
