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
"""What it takes until the command answers, and until the package is imported."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: What the package stands on: somebody has imported that already where it matters.
_DEPENDENCIES = (
    'libvirt',
    'lxml.etree',
    'oslo_concurrency.processutils',
    'oslo_config.cfg',
    'oslo_log.log',
    'oslo_utils.timeutils',
    'stevedore',
    'tenacity',
)
_IMPORTS = f"""\
import json, time
import {', '.join(_DEPENDENCIES)}
begun = time.perf_counter()
import blockmirror_driver
imported = time.perf_counter()
from blockmirror_driver import *
named = time.perf_counter()
import blockmirror_driver.swap.service
ended = time.perf_counter()
told = {{'import_s': imported - begun, 'names_s': named - begun, 'service_s': ended - begun}}
print(json.dumps(told))
"""


def measure(rounds: int, keep: Callable[[dict[str, Any]], None]) -> None:
    """Start both in turn; the first round, which may have bytecode to write, does not count."""
    command = Path(sys.executable).with_name('blockmirror')
    for number in range(rounds + 1):
        begun = time.monotonic()
        _run([str(command), '--help'])
        help_s = time.monotonic() - begun
        told = json.loads(_run([sys.executable, '-c', _IMPORTS]))
        if number:
            keep({name: round(value, 6) for name, value in {'help_s': help_s, **told}.items()})


def _run(argv: list[str]) -> bytes:
    return subprocess.run(
        argv, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    ).stdout
