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
"""What Nova and Cinder know of a swap: kept in the journal, for whoever takes it up later."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields


@dataclass(frozen=True, slots=True)
class SwapContext:
    """The ids of a swap that Nova's manager asked for. Nothing in it is secret.

    ``mountpoint`` is the device as Nova names it, ``/dev/vdb``.
    """

    instance_uuid: str
    mountpoint: str
    old_volume_id: str
    new_volume_id: str
    old_attachment_id: str
    new_attachment_id: str

    @property
    def dev(self) -> str:
        """The disk's target in the guest's XML, ``vdb``."""
        return self.mountpoint.rpartition('/')[2]

    def to_json(self) -> str:
        """Write it as text, for the ``door`` of a swap."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> SwapContext | None:
        """Read it back; ``None`` when the swap came through another door."""
        try:
            found = json.loads(text)
        except ValueError:
            return None
        names = {field.name for field in fields(cls)}
        if not isinstance(found, dict) or not names <= set(found):
            return None
        return cls(**{name: str(found[name]) for name in names})
