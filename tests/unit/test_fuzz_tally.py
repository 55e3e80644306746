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
"""The campaign of inputs counts what Hypothesis really tried."""

from __future__ import annotations

import os
import subprocess
import sys
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class TestTally(unittest.TestCase):
    def test_inputs_are_counted(self) -> None:
        """Hypothesis words its statistics itself: a new wording must not count as none."""
        argv = [
            sys.executable,
            '-m',
            'tests.fuzz',
            '--inputs',
            '150',
            '-k',
            'test_any_text_is_read_or_refused',
        ]
        done = subprocess.run(
            argv, cwd=ROOT, env={**os.environ}, stdin=subprocess.DEVNULL, capture_output=True,
            text=True, check=False,
        )  # fmt: skip
        self.assertEqual(0, done.returncode, done.stdout + done.stderr)
        self.assertIn('1 properties, 150 inputs, seed 1, 0 failed', done.stdout)
