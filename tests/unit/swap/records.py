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
"""Records for the tests."""

from __future__ import annotations

import uuid
from typing import Any

from blockmirror_driver.swap.owner import Owner
from blockmirror_driver.swap.record import SwapRecord
from blockmirror_driver.swap.request import Ending
from blockmirror_driver.swap.states import SwapState

DEAD = Owner('00000000-0000-0000-0000-000000000000', 1, 1)


def record(**changes: Any) -> SwapRecord:
    """A fresh, planned swap of this process."""
    values: dict[str, Any] = {
        'id': str(uuid.uuid4()),
        'domain_name': 'guest',
        'domain_uuid': str(uuid.uuid4()),
        'dev': 'vda',
        'state': SwapState.PLANNED,
        'ending': Ending.PIVOT,
        'source_xml': '<disk/>',
        'destination_xml': '<disk/>',
        'source_desc': 'nfs:a',
        'destination_desc': 'rbd:b/c',
        'size': 1 << 20,
        'serial': None,
        'bandwidth': 0,
        'hold': False,
        'pivot_requested': False,
        'owner': Owner.current(),
        'created_at': 1.0,
        'updated_at': 1.0,
    }
    return SwapRecord(**(values | changes))
