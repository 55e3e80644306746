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
"""How long a guest stands still, seen from outside.

A guest whose QEMU hangs need not be within a write: its processor may be asleep, and nothing
wakes it. Then no write takes long, and all the same none is made.
"""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Self

from tests.lab.guest.guest import Guest

#: Seconds between two looks, and for an answer: longer than anything hangs here.
_EVERY_S, _ANSWER_S = 0.1, 60.0


class Watcher:
    """Looks again and again how many writes are acknowledged; nobody else may ask the guest.

    :ivar longest: seconds between two looks that found more of them than the look before
    """

    def __init__(self, guest: Guest) -> None:
        self.longest = 0.0
        self._guest = guest
        self._over = threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop looking.

        :raise LabError: the guest did not answer
        """
        self._over.set()
        self._thread.join()
        if self._error and error is None:
            raise self._error

    def _watch(self) -> None:
        try:
            acked, since = self._guest.stat(_ANSWER_S).acked, time.monotonic()
            while not self._over.wait(_EVERY_S):
                found, now = self._guest.stat(_ANSWER_S).acked, time.monotonic()
                self.longest = max(self.longest, now - since)
                if found > acked:
                    acked, since = found, now
        except Exception as error:  # noqa: BLE001 - told by whoever waits
            self._error = error
