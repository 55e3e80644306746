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
"""The report of a run, as the documentation reads it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from blockmirror_driver.swap.states import SWITCHED
from tests.faults.catalogue import FAULTS, WINDOWS, Cell, cells

REPORT = Path(__file__).resolve().parents[2] / 'doc/source/contributor/faults.json'


def summed(told: Mapping[str, dict[str, Any]], seed: int) -> str:
    """One line per fault and per cell, in the order of the matrix."""
    faults = [
        json.dumps({
            'name': fault.name,
            'what': fault.what,
            'promise': fault.promise,
            'impossible': {state.value: why for state, why in fault.impossible.items()},
        })
        for fault in FAULTS
    ]  # fmt: skip
    run = [
        json.dumps({**told[cell.name], **_moment(cell)}) for cell in cells() if cell.name in told
    ]
    return (
        f'{{"seed": {seed},\n"faults": [\n' + ',\n'.join(faults)
        + '\n],\n"cells": [\n' + ',\n'.join(run) + '\n]}\n'
    )  # fmt: skip


def _moment(cell: Cell) -> dict[str, bool]:
    """Whether it was in a moment that remains, where the guest must not stand still."""
    watched = cell.fault.answers and cell.state not in SWITCHED
    return {'moment': cell.state in WINDOWS} if watched else {}
