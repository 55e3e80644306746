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
"""A module of the tests that brings up a lab of its own for one run."""

import subprocess
import sys


def run_inside(name: str, module: str) -> int:
    """Bring a lab up, run the module in it with this process's arguments, and take it down.

    :return: the module's exit status
    """
    lab = [sys.executable, '-m', 'tests.lab', '--name', name]
    subprocess.run([*lab, 'up'], check=True)
    try:
        again = [sys.executable, '-m', module, *sys.argv[1:]]
        return subprocess.run([*lab, 'run', '--', *again], check=False).returncode
    finally:
        subprocess.run([*lab, 'down'], check=False)
