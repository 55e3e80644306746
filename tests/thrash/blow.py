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
"""What befalls a swap while its command runs."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import threading
from typing import Any

import libvirt

from tests.functional.command import Command, Running
from tests.lab.deadline import wait_until
from tests.lab.guest.guest import Guest
from tests.lab.lab import Lab
from tests.thrash.plan import Move

#: Seconds that the checks before a swap may take.
_LISTED_S = 90.0
SIGNALS = {
    'killed at any moment': signal.SIGKILL,
    'interrupted': signal.SIGINT,
    'terminated': signal.SIGTERM,
}


class Blow:
    """One blow to one running command.

    :param calm: held by whoever needs all parts of the lab; so is it by who breaks one of them.
    """

    def __init__(self, lab: Lab, guest: Guest, command: Command, calm: threading.RLock) -> None:
        self._lab = lab
        self._guest = guest
        self._command = command
        self._calm = calm

    def strike(self, move: Move, running: Running) -> None:
        """Wait for the moment, or for the end of the command, and let it happen."""
        if move.blow in ('none', 'killed at a write of the journal'):
            return
        if move.blow.startswith('held'):
            with contextlib.suppress(AssertionError):  # the swap ended without being held
                running.wait_state('held')
                self._ask('pivot' if move.blow.endswith('pivoted') else 'cancel', running)
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            running.process.wait(move.after)
        if move.blow in SIGNALS:
            running.kill(SIGNALS[move.blow])
        elif move.blow == 'cancelled by another process':
            self._ask('cancel', running)
        elif move.blow.startswith(('guest', 'another')):
            # Too early, too late, or in the way of what libvirt is doing: that may be.
            with self._calm, contextlib.suppress(libvirt.libvirtError):
                self._on_guest(move)
        else:
            with self._calm:
                self._on_part(move, running)

    def _ask(self, word: str, running: Running) -> None:
        """Ask as soon as the swap is in the journal; one that ends before is asked nothing."""

        def asked() -> bool:
            listed = self._command.run('list', '--active', '-f', 'json').json
            mine = [one['swap_id'] for one in listed if one['domain'] == self._guest.name]
            for swap_id in mine:
                self._command.run(word, swap_id, '--no-wait')
            return bool(mine) or running.process.poll() is not None

        wait_until(asked, _LISTED_S, f'the swap of {self._guest.name} is listed, or over')

    def _on_guest(self, move: Move) -> None:
        domain = self._guest.domain
        if move.blow == 'guest destroyed':
            self._guest.stat()
            domain.destroy()
        elif move.blow == 'guest powered off':
            self._guest.stat()
            self._guest.poweroff()
        elif move.blow == 'guest paused':
            domain.suspend()
            threading.Event().wait(move.lasts)
            domain.resume()
        else:
            pivot = libvirt.VIR_DOMAIN_BLOCK_JOB_ABORT_PIVOT
            domain.blockJobAbort('vda', pivot if move.blow.endswith('pivots') else 0)

    def _on_part(self, move: Move, running: Running) -> None:
        if move.blow == 'libvirtd killed':
            self._lab.libvirtd.kill()
            self._lab.libvirtd.start()
            return
        part: Any = {
            'iscsi stopped': self._lab.iscsi,
            'nfs stopped': self._lab.nfs,
            'osd stopped': self._lab.ceph.osd,
            'mon stopped': self._lab.ceph.mon,
        }[move.blow]
        part.stop()
        with contextlib.suppress(subprocess.TimeoutExpired):
            running.process.wait(move.lasts)
        part.cont()
