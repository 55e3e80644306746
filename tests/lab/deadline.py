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
"""Waiting for something to become true, never longer than a stated time."""

import time
from collections.abc import Callable
from typing import TypeVar

from tests.lab.layout import LabError

T = TypeVar('T')

#: Pause between two readings of a state that sends no event, in seconds.
INTERVAL_S = 0.05


def wait_until(probe: Callable[[], T | None], seconds: float, what: str) -> T:
    """Call `probe` until it answers something truthy, and return that.

    :param seconds: deadline, counted from now
    :param what: what is waited for, for the error's text
    :raise LabError: the deadline passed; the probe was called at least once
    """
    end = time.monotonic() + seconds
    while True:
        found = probe()
        if found:
            return found
        if time.monotonic() >= end:
            raise LabError('deadline', f'{what}: not within {seconds:g} s')
        time.sleep(INTERVAL_S)
