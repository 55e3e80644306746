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
"""Runs ``blockmirror`` in a process of its own with a service that waits for signals.

Which signals it ignores is inherited, for example from ``nohup``, so that is set here: those
named by ``ignored:``, and no others.
"""

from __future__ import annotations

import signal
import sys

from blockmirror_driver.cli import main
from blockmirror_driver.cli.app import BlockmirrorApp
from tests.unit.cli.fakes import InterruptedService, opener

if __name__ == '__main__':
    behaviour, ignored, *argv = sys.argv[1:]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        deaf = number.name in ignored.removeprefix('ignored:').split(',')
        signal.signal(number, signal.SIG_IGN if deaf else signal.SIG_DFL)
    service = InterruptedService(hangs=behaviour == 'hangs', deaf=behaviour == 'deaf')
    sys.exit(main.run(BlockmirrorApp(open_service=opener(service)), argv))
