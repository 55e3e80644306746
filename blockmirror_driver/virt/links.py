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
"""Connections for calls, with never more than one call under way on each.

libvirt's client lets many threads share a connection, but while one of their calls hangs,
another's request can stay unsent until a third wakes the client up: seen with 9.0, in one
of some ten calls. libvirtd also reads no more, not even keepalive messages, from a client
with five requests under way (``max_client_requests``). So each call has a connection to
itself; one that is done serves the next call.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

import libvirt

from blockmirror_driver import exception
from blockmirror_driver.virt import errors
from blockmirror_driver.virt.link import Link

_T = TypeVar('_T')


class Links:
    """Opens connections as calls need them, and keeps what is idle.

    The methods block in libvirt; any thread may call. How many there can be is bounded by
    the :class:`~blockmirror_driver.virt.calls.CallPool` that the calls run in.

    :param make: gives a link that is not open yet.
    """

    def __init__(self, make: Callable[[], Link]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._idle: list[Link] = []
        self._epoch = 0

    def call(self, function: Callable[[libvirt.virConnect], _T]) -> _T:
        """Return what ``function`` returns, with a connection of its own.

        :raise HypervisorUnavailable: none could be opened; ``function`` was not called.
        :raise libvirt.libvirtError: what ``function`` raised.
        """
        link, epoch = self._take()
        try:
            return link.call(function)
        finally:
            self._give(link, epoch)

    def renew(self) -> None:
        """Close what is idle, and after their calls what is not."""
        with self._lock:
            self._epoch += 1
            idle, self._idle = self._idle, []
        for link in idle:
            link.close()

    def _take(self) -> tuple[Link, int]:
        with self._lock:
            epoch = self._epoch
            while self._idle:
                link = self._idle.pop()
                if link.is_alive:
                    return link, epoch
                # A dead one has nothing to say goodbye to, so that this does not block.
                link.close()
        link = self._make()
        try:
            link.open()
        except libvirt.libvirtError as error:
            raise exception.HypervisorUnavailable(
                f'no connection to libvirt: {errors.clean(error)}', code=errors.code(error)
            ) from error
        return link, epoch

    def _give(self, link: Link, epoch: int) -> None:
        with self._lock:
            if epoch == self._epoch and link.is_alive:
                self._idle.append(link)
                return
        link.close()
