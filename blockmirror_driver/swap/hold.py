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
"""Whether a swap waits in READY: until it is told, or until a time."""

from __future__ import annotations

import time
from collections.abc import Callable


class Hold:
    """One swap's wish to wait. One thread uses it, the runner's.

    :param wanted: whether to wait at all.
    :param until: seconds since the epoch at which to go on by itself; 0 is never.
    :param clock: the runner's. The time is turned into one of this clock at once, so that a
        clock of the host that is set later moves no pivot.
    """

    def __init__(self, wanted: bool, until: float, clock: Callable[[], float]) -> None:
        self._wanted = wanted
        self._clock = clock
        self._end = clock() + until - time.time() if until else None

    @property
    def on(self) -> bool:
        """Whether to wait."""
        return self._wanted and (self._end is None or self._clock() < self._end)

    def tell(self, wanted: bool) -> None:
        """Take up an operator's request, which counts more than a time said before."""
        self._wanted = wanted
        self._end = None
