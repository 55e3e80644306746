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
"""Signals while a swap of this process runs.

===========================  ==============================================================
first ^C                     cancels in order; the guest stays on the source (exit code 5)
second ^C, SIGTERM, SIGHUP   leaves the job running, journaled, to be taken up (130)
third ^C                     ends this process at once; the journal says the rest (130)
===========================  ==============================================================
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Protocol

#: A terminal that goes away (SIGHUP) must not take the copy with it.
_LEAVE = (signal.SIGTERM, signal.SIGHUP)


class Stoppable(Protocol):
    """A swap, or several."""

    def cancel_local(self) -> None:
        """Ask for the way back to the source."""

    def leave(self) -> None:
        """Ask to be left running."""


class Interrupts:
    """Counts ^C and passes the wish on.

    The handlers only call the two methods of :class:`Stoppable`, which set a flag: nothing is
    written, locked or asked of libvirt within a signal handler.
    """

    def __init__(self, service: Stoppable) -> None:
        self._service = service
        self._count = 0

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Handle the signals meanwhile. Elsewhere than in the main thread this does nothing."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        old = {number: signal.getsignal(number) for number in (signal.SIGINT, *_LEAVE)}
        signal.signal(signal.SIGINT, self._on_interrupt)
        for number in _LEAVE:
            # Who was started with nohup stays deaf to SIGHUP.
            if old[number] is not signal.SIG_IGN:
                signal.signal(number, self._on_leave)
        try:
            yield
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)

    def _on_interrupt(self, _number: int, _frame: FrameType | None) -> None:
        self._count += 1
        if self._count == 1:
            self._service.cancel_local()
            return
        self._service.leave()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def _on_leave(self, _number: int, _frame: FrameType | None) -> None:
        self._service.leave()
