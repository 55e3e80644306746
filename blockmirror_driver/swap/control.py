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
"""How a running swap is told to stop, from its own process or from another."""

from __future__ import annotations

from collections.abc import Callable

from oslo_log import log as logging

from blockmirror_driver import exception
from blockmirror_driver.swap.journal import Journal, Request

LOG = logging.getLogger(__name__)


class Control:
    """The wishes of this process's user.

    The two methods that set a wish may be called from any thread and from a signal handler:
    they set a flag and put one item on a queue.
    """

    def __init__(self) -> None:
        self.cancelled = False
        self.left = False
        self._wake: Callable[[], None] = lambda: None

    def cancel(self) -> None:
        """Ask for the way back: end the copy, keep the guest on the source."""
        self.cancelled = True
        self._wake()

    def leave(self) -> None:
        """Ask to return and to leave the block job running."""
        self.left = True
        self._wake()

    @property
    def stop(self) -> bool:
        """Whether either was wished."""
        return self.cancelled or self.left

    def look(self) -> None:
        """Have a request of another thread seen at once, not at the next look."""
        self._wake()

    def attach(self, wake: Callable[[], None]) -> None:
        """Say whom to wake; what was wished before is seen at the next look."""
        self._wake = wake

    def reset(self) -> None:
        """Forget what was wished: it was about a swap that is over."""
        self.cancelled = self.left = False
        self._wake = lambda: None


class Inbox:
    """Requests of other processes, and the wishes of this one, as one question.

    Between :meth:`open` and :meth:`close` whoever waits is woken when a request comes.

    A journal that can't be read holds no requests, and one that can't be written still gives
    each of them once.
    """

    def __init__(self, journal: Journal, swap_id: str, control: Control) -> None:
        self._journal = journal
        self._swap_id = swap_id
        self._seen = 0
        self.control = control

    def open(self) -> None:
        """Have whoever waits be woken from now on."""
        self._journal.mail.deliver(self._swap_id, self.control.look)

    def close(self) -> None:
        """Be woken no more."""
        self._journal.mail.stop(self._swap_id)

    def pending(self) -> bool:
        """Tell whether anything waits to be taken up. Cheap."""
        return self.control.stop or bool(self._requests())

    def take(self) -> tuple[Request, ...]:
        """Take up what other processes asked."""
        found = self._requests()
        if found:
            self._seen = found[-1].number
            try:
                self._journal.take(self._swap_id, self._seen)
            except exception.JournalUnusable as error:
                LOG.warning('Swap %s: nobody can be told of it: %s', self._swap_id, error)
        return found

    def _requests(self) -> tuple[Request, ...]:
        try:
            return self._journal.requests(self._swap_id, after=self._seen)
        except exception.JournalUnusable as error:
            LOG.warning('Swap %s: requests can not be read: %s', self._swap_id, error)
            return ()
