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
"""Which of several portals answers.

libvirt takes one portal per disk, and QEMU does not try another when it is silent.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeAlias

from blockmirror_driver.model import Host, Seconds

#: Takes portals in order of preference and a time limit; returns the first that answers.
Answering: TypeAlias = Callable[[Sequence[Host], Seconds], Host | None]


class _Attempt(threading.Thread):
    """One connection; a daemon thread, since resolving a name can't be interrupted."""

    def __init__(self, host: Host, timeout: Seconds) -> None:
        super().__init__(daemon=True, name=f'blockmirror-portal-{host}')
        self._host = host
        self._timeout = timeout
        self.answered = False

    def run(self) -> None:
        address = (self._host.name, self._host.port or 0)
        try:
            with socket.create_connection(address, timeout=self._timeout):
                self.answered = True
        except (OSError, UnicodeError):
            # Why it does not answer makes no difference to the choice.
            return


def first_answering(portals: Sequence[Host], timeout: Seconds) -> Host | None:
    """Return the first portal that accepts a TCP connection, ``None`` when none does.

    All are tried at once, so that it takes no longer than ``timeout`` in all. A name that
    takes longer to resolve is left to its own thread, which ends by itself.
    """
    attempts = [_Attempt(host, timeout) for host in portals]
    for attempt in attempts:
        attempt.start()
    deadline = time.monotonic() + timeout
    for host, attempt in zip(portals, attempts, strict=True):
        attempt.join(max(0.0, deadline - time.monotonic()))
        if attempt.answered:
            return host
    return None
