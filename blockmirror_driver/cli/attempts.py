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
"""Another attempt at a swap that failed, where an operator wants that.

Each attempt is a swap of its own, planned anew: of several portals of a target the first that
answers by then is taken. None begins before the one before has gone back, whole.
"""

from __future__ import annotations

import queue
from collections.abc import Callable
from typing import TYPE_CHECKING

from blockmirror_driver import exception
from blockmirror_driver.swap.states import SwapState

if TYPE_CHECKING:
    from blockmirror_driver.swap.record import Outcome
    from blockmirror_driver.swap.service import SwapService

#: What may have been the storage's fault, and of it what says that it was not.
_AGAIN = (exception.CopyFailed, exception.Stalled)
_NEVER = (exception.GuestGone, exception.JobLost)


class Attempts:
    """Runs a swap until it succeeds, is told to stop, or has failed often enough.

    :param most: how many attempts in all.
    :param interval: seconds between the end of one and the beginning of the next.
    :param tell: gets a line about each that failed, the last excepted.
    """

    def __init__(
        self, service: SwapService, most: int, interval: float, tell: Callable[[str], object]
    ) -> None:
        self._service = service
        self._most = most
        self._interval = interval
        self._tell = tell
        #: Not an event: a signal handler puts into it, and must not wait for a lock.
        self._stopped: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._stopping = False

    def cancel_local(self) -> None:
        """Cancel the attempt under way, and make no other."""
        self._stop()
        self._service.cancel_local()

    def leave(self) -> None:
        """Leave the attempt under way, and make no other."""
        self._stop()
        self._service.leave()

    def _stop(self) -> None:
        self._stopping = True
        self._stopped.put(None)

    def run(self, once: Callable[[], Outcome]) -> Outcome:
        """Return what ``once`` returns.

        :raise BlockmirrorError: of the last attempt.
        :raise Cancelled: told to stop between two; the guest is on the source.
        """
        number = 0
        while True:
            number += 1
            try:
                return once()
            except exception.BlockmirrorError as error:
                if number >= self._most or self._stopping or not self._is_worth(error, number):
                    raise
                self._tell(
                    f'attempt {number} of {self._most} failed: {error.message}; the next one '
                    f'begins in {self._interval:g} s'
                )
                self._wait(error)

    def _is_worth(self, error: exception.BlockmirrorError, number: int) -> bool:
        if number > 1 and isinstance(error, exception.DestinationUnusable):
            return True  # it was good once, and is not back yet
        if not isinstance(error, _AGAIN) or isinstance(error, _NEVER):
            return False
        if not error.swap_id:
            return False
        return self._service.record(error.swap_id).state is SwapState.REVERTED

    def _wait(self, last: exception.BlockmirrorError) -> None:
        try:
            self._stopped.get(timeout=self._interval)
        except queue.Empty:
            return
        raise exception.Cancelled('cancelled on request, between two attempts') from last
