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
"""Slowing the guest down, where that is the policy for a copy that it outruns."""

from __future__ import annotations

from oslo_log import log as logging

from blockmirror_driver import exception
from blockmirror_driver.mirror import copy_mode
from blockmirror_driver.mirror.engine import Mirror
from blockmirror_driver.mirror.options import SYNCHRONOUS
from blockmirror_driver.swap.ledger import Ledger, Swap
from blockmirror_driver.virt.connection import Hypervisor

LOG = logging.getLogger(__name__)


class Pace:
    """Of one swap. One thread uses it, the runner's."""

    def __init__(self, hypervisor: Hypervisor, swap: Swap, ledger: Ledger) -> None:
        self._hypervisor = hypervisor
        self._swap = swap
        self._ledger = ledger
        self._done = swap.options.convergence != SYNCHRONOUS

    def is_due(self, mirror: Mirror) -> bool:
        """Whether there is something to do."""
        return not self._done and mirror.snapshot().diverges

    def keep(self, mirror: Mirror) -> None:
        """Make the copy synchronous if it is time, once. One that can't be made so goes on."""
        if not self.is_due(mirror):
            return
        self._done = True
        try:
            domain = self._hypervisor.domain(self._swap.domain_uuid)
            copy_mode.make_synchronous(domain, self._swap.dev)
        except exception.BlockmirrorError as error:
            self._ledger.note(f'the copy could not be made synchronous: {error}')
        else:
            self._ledger.note("the guest's writes go to both sides from now on")
