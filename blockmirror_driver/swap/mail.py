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
"""Who has a request waiting: one look at the journal for all swaps of a process.

A swap that looked for itself would have to wake each second for nothing. So it sleeps until its
block job wants it, and is woken when somebody has asked something of it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from oslo_log import log as logging

from blockmirror_driver import exception
from blockmirror_driver.model import Seconds

LOG = logging.getLogger(__name__)

#: Between two looks, seconds; a request is taken up within a second.
EVERY = Seconds(0.5)


@dataclass(slots=True)
class _Box:
    wake: Callable[[], None]
    #: Number of the last request that it was woken for.
    told: int = 0


class Mail:
    """Of one journal. Any thread may call; the looking is done by a daemon thread of its own.

    It runs as long as there is a swap to wake.

    :param waiting: gives the number of the last request that waits, for each swap that has one.
    :param close: called by that thread at its end.
    """

    def __init__(self, waiting: Callable[[], dict[str, int]], close: Callable[[], None]) -> None:
        self._waiting = waiting
        self._close = close
        self._changed = threading.Condition()
        self._boxes: dict[str, _Box] = {}
        self._thread: threading.Thread | None = None

    def deliver(self, swap_id: str, wake: Callable[[], None]) -> None:
        """Call ``wake``, in another thread, for each request of a swap from now on."""
        with self._changed:
            self._boxes[swap_id] = _Box(wake)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name='blockmirror-mail', daemon=True
                )
                self._thread.start()

    def stop(self, swap_id: str) -> None:
        """Wake a swap no more; it need not have been."""
        with self._changed:
            self._boxes.pop(swap_id, None)
            self._changed.notify_all()

    def _run(self) -> None:
        try:
            while self._is_needed():
                self._look()
        finally:
            self._close()

    def _is_needed(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: not self._boxes, EVERY)
            if not self._boxes:
                self._thread = None
            return bool(self._boxes)

    def _look(self) -> None:
        try:
            waiting = self._waiting()
        except exception.JournalUnusable as error:
            LOG.warning('Requests can not be looked for: %s', error)
            return
        with self._changed:
            for swap_id, number in waiting.items():
                box = self._boxes.get(swap_id)
                if box is not None and number > box.told:
                    box.told = number
                    box.wake()
