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
"""A campaign: guests side by side, each with a seed of its own, until all moves are made."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.lab.lab import Lab
from tests.thrash.traveller import Tally, Traveller


def campaign(seed: int, swaps: int, guests: int, seconds: float = float('inf')) -> dict[str, Any]:
    """Make the moves and return the report.

    :param guests: how many guests, side by side
    :param seconds: no move begins after this many
    """
    calm = threading.RLock()
    tallies = [Tally() for _ in range(guests)]
    started = time.monotonic()

    def journey(number: int) -> None:
        traveller = Traveller(Lab.from_env(), f'{seed}/{number}', calm, tallies[number])
        try:
            for move in range(number, swaps, guests):
                if time.monotonic() - started > seconds:
                    break
                traveller.travel(move)
        finally:
            with calm:
                traveller.close()

    with ThreadPoolExecutor(guests) as pool:
        for done in [pool.submit(journey, number) for number in range(guests)]:
            done.result()
    report = merged([vars(tally) for tally in tallies])
    return {'seeds': [seed], 'seconds': round(time.monotonic() - started, 1), **report}


def merged(reports: list[dict[str, Any]]) -> dict[str, Any]:
    """One report of several: numbers and lists are added, tables entry by entry."""
    total: dict[str, Any] = {}
    for report in reports:
        for name, value in report.items():
            if isinstance(value, dict):
                table = total.setdefault(name, {})
                for key, count in value.items():
                    table[key] = table.get(key, 0) + count
            else:
                total[name] = total[name] + value if name in total else value
    return total
