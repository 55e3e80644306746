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
from collections.abc import Iterable
from pathlib import Path
from typing import Any

REPORT = Path(__file__).resolve().parents[2] / 'doc/source/contributor/faults.json'


def summed(told: Iterable[dict[str, Any]], seed: int) -> str:
    """One line per cell, in the order of their names."""
    lines = [json.dumps(one, sort_keys=True) for one in sorted(told, key=lambda one: one['cell'])]
    return f'{{"seed": {seed}, "cells": [\n' + ',\n'.join(lines) + '\n]}\n'
