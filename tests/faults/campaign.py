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
"""Running cells: side by side what breaks nothing shared, one by one the rest."""

from __future__ import annotations

import collections
import json
import random
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import libvirt

from blockmirror_driver.virt import errors
from tests.faults.catalogue import Cell, cells
from tests.faults.stand import Stand
from tests.lab.lab import Lab

Told = Callable[[dict[str, Any]], None]
#: A cell that was not reached is run once more: that a machine is slow breaks no promise.
_ATTEMPTS = 2


def chosen(only: str, sample: int, seed: int) -> list[Cell]:
    """The cells whose name holds a text, or as many of them as wanted, drawn by the seed."""
    found = [cell for cell in cells() if only in cell.name]
    if sample and sample < len(found):
        found = random.Random(seed).sample(found, sample)
    return found


def campaign(wanted: Sequence[Cell], tell: Told, guests: int) -> None:
    """Run the cells.

    :param tell: called with what came of each, one at a time
    :param guests: how many side by side
    """
    libvirt.registerErrorHandler(errors.swallow, None)  # else libvirt prints each
    lock = threading.Lock()

    def worker(name: str, queue: collections.deque[Cell]) -> None:
        lab = Lab.from_env()
        journal = lab.artefacts_dir / 'faults' / 'journal.sqlite'
        stand = Stand(lab, name, journal)
        try:
            while True:
                try:
                    cell = queue.popleft()
                except IndexError:
                    break
                told = _run(stand, cell)
                with lock:
                    tell(told)
        finally:
            stand.close()

    shared = collections.deque(cell for cell in wanted if not cell.fault.alone)
    alone = collections.deque(cell for cell in wanted if cell.fault.alone)
    begun = f'{int(time.time()):x}'[-5:]
    if shared:
        with ThreadPoolExecutor(guests) as pool:
            jobs = [pool.submit(worker, f'f-{begun}-{n}', shared) for n in range(guests)]
            for job in jobs:
                job.result()
    if alone:
        worker(f'f-{begun}-a', alone)


def _run(stand: Stand, cell: Cell) -> dict[str, Any]:
    for _attempt in range(_ATTEMPTS):
        told = stand.run(cell)
        if told.pop('reached', False):
            break
        print(f'not reached: {told}', file=sys.stderr, flush=True)
    return told


class Report:
    """What came of each cell, in a file after each."""

    def __init__(self, path: Path, *, resume: bool) -> None:
        self._path = path
        self.told: dict[str, dict[str, Any]] = {}
        if resume and path.exists():
            known = json.loads(path.read_text())['cells']
            self.told = {one['cell']: one for one in known if one['result'] == 'held'}

    def add(self, told: dict[str, Any]) -> None:
        """Keep it."""
        self.told[told['cell']] = told
        print(json.dumps(told), flush=True)
        self._path.write_text(json.dumps({'cells': list(self.told.values())}, indent=1) + '\n')
