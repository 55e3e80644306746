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
"""Run the command in a process that kills or stops itself at one write of the journal.

``python -m tests.functional.crashing before|after|stop:STATE ...`` (or several of them, with a
space between) runs ``blockmirror ...`` and
sends itself SIGKILL right before or after the journal is told that the swap is in STATE, or
SIGSTOP right after it. ``after:suspend`` is right after the guest was paused; ``impatient`` has
the first block of a disk found different at the first look, and looked at again in a pause only;
``endless`` has contents compared until one is told to stop, and ``hurried`` gives no time to look
whether a destination is zeroed. Nothing in the product knows of it.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from blockmirror_driver.cli.main import main
from blockmirror_driver.model import Bytes, Seconds
from blockmirror_driver.swap import contents, zeroes
from blockmirror_driver.swap.images import Image
from blockmirror_driver.swap.journal import Journal
from blockmirror_driver.swap.states import SwapState
from blockmirror_driver.virt.domain import Domain


def arm(when: str, state: SwapState) -> None:
    """Make the process die at that write."""
    advance = Journal.advance

    def dying(self: Journal, swap_id: str, new: SwapState, *args: Any, **kwargs: Any) -> None:
        if new is state and when == 'before':
            os.kill(os.getpid(), signal.SIGKILL)
        advance(self, swap_id, new, *args, **kwargs)
        if new is state and when != 'before':
            os.kill(os.getpid(), signal.SIGKILL if when == 'after' else signal.SIGSTOP)

    Journal.advance = dying  # type: ignore[method-assign,assignment]


def arm_suspend() -> None:
    """Make the process die once it has paused the guest."""
    suspend = Domain.suspend

    def dying(self: Domain) -> None:
        suspend(self)
        os.kill(os.getpid(), signal.SIGKILL)

    Domain.suspend = dying  # type: ignore[method-assign]


def arm_impatience() -> None:
    """Have a block compared while the guest is paused, whatever it was like before."""
    differing = contents.Comparison._differing
    contents.PASSES = 0

    def at_first(self: contents.Comparison, *args: Any) -> list[contents.Span]:
        paused = len(args) > len(('sides', 'look'))
        return differing(self, *args) if paused else [(0, int(contents.BLOCK))]

    contents.Comparison._differing = at_first  # type: ignore[method-assign,assignment]


def arm_endlessness() -> None:
    """Have a comparison go on until it is told to stop."""

    def until_told(self: contents.Comparison, *_args: Any) -> list[contents.Span]:
        self._stop.wait()
        return []

    contents.Comparison._differing = until_told  # type: ignore[method-assign,assignment]


def arm_hurry() -> None:
    """Have no time to look whether a destination is zeroed."""
    look = zeroes._look

    def hurried(image: Image, size: Bytes, timeout: Seconds) -> zeroes.Seen:
        return look(image, size, Seconds(0.0 * timeout))

    zeroes._look = hurried


if __name__ == '__main__':
    for where in sys.argv.pop(1).split():
        when_text, _, state_text = where.partition(':')
        if where == 'impatient':
            arm_impatience()
        elif where == 'endless':
            arm_endlessness()
        elif where == 'hurried':
            arm_hurry()
        elif state_text == 'suspend':
            arm_suspend()
        else:
            arm(when_text, SwapState(state_text))
    sys.exit(main(sys.argv[1:]))
