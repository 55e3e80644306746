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
"""What a swap defines before its copy begins: secrets, its mark, a stored XML that agrees."""

from __future__ import annotations

import time
from dataclasses import replace

from blockmirror_driver.swap import cleanup, verify
from blockmirror_driver.swap.ledger import Ledger, Swap
from blockmirror_driver.swap.plan import Plan
from blockmirror_driver.swap.states import SwapState
from blockmirror_driver.virt.connection import Hypervisor
from blockmirror_driver.virt.secrets import SecretLifetime
from blockmirror_driver.xml import disk as xml_disk


def prepare(hypervisor: Hypervisor, ledger: Ledger, plan: Plan, swap: Swap) -> Swap:
    """Return the swap with a destination that cites secrets which exist.

    :raise BlockmirrorError: some of it may be there; the swap has to be reverted.
    """
    ledger.advance(SwapState.PREPARED, 'defining secrets')
    # The destination's own secrets from the start: a pivoted disk goes on citing them.
    disk = hypervisor.secrets.prepare(swap.destination, swap.id, lifetime=SecretLifetime.DISK)
    ledger.advance(SwapState.PREPARED, 'secrets are defined', destination_xml=xml_disk.build(disk))
    swap = replace(swap, destination=disk)
    if plan.stored_is_stale:
        verify.repair_stored(hypervisor.domain(swap.domain_uuid), swap.dev)
        ledger.note('the stored XML named another volume and was brought in line')
    intent = cleanup.first_intent(swap)
    if cleanup.mark(hypervisor, swap, intent):
        swap = replace(swap, marked=intent)
    if plan.probed_at is not None:
        window = time.monotonic() - plan.probed_at
        ledger.note(f'the destination is opened {window:.3f} s after its probe')
    return swap
