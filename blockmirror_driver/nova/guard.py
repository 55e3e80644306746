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
"""What Nova's manager tells Cinder after a swap is held back: our duties tell it.

The manager takes any failure after the swap for a failed swap, and Cinder then deletes the new
volume, which the guest may be on. It takes a swap whose end nobody knows for a failed one too.
So for a swap that is in the journal its calls have no effect here: what Cinder is to be told
follows from how the swap ended, and is done by :mod:`blockmirror_driver.nova.duties`.
"""

from __future__ import annotations

import threading
from typing import Any

from oslo_log import log as logging

from blockmirror_driver.nova.context import SwapContext

LOG = logging.getLogger(__name__)


class Guard:
    """Stands between the manager and its client of Cinder.

    Only the thread that swaps is held back, from :meth:`cover` until the last call that the
    manager makes for that swap.
    """

    def __init__(self, volume_api: Any) -> None:
        self._api = volume_api
        self._local = threading.local()

    def __getattr__(self, name: str) -> Any:
        """Everything else is the client's own."""
        return getattr(self._api, name)

    def cover(self, ids: SwapContext) -> None:
        """Hold back what the calling thread says of this swap."""
        self._local.ids = ids

    def uncover(self) -> None:
        """Let everything through again."""
        self._local.ids = None

    def _covered(self, what: str, *given: str) -> bool:
        ids: SwapContext | None = getattr(self._local, 'ids', None)
        mine = ids is not None and set(given) <= {
            ids.old_volume_id,
            ids.new_volume_id,
            ids.old_attachment_id,
            ids.new_attachment_id,
        }
        if mine:
            LOG.debug('%s of %s is left to the duties of the swap', what, ', '.join(given))
        return mine

    def attachment_complete(self, context: Any, attachment_id: str) -> Any:
        """As Nova's client, but for a covered swap."""
        if not self._covered('attachment_complete', attachment_id):
            return self._api.attachment_complete(context, attachment_id)
        return None

    def attachment_delete(self, context: Any, attachment_id: str) -> Any:
        """As Nova's client, but for a covered swap."""
        if not self._covered('attachment_delete', attachment_id):
            return self._api.attachment_delete(context, attachment_id)
        return None

    def roll_detaching(self, context: Any, volume_id: str) -> Any:
        """As Nova's client, but for a covered swap."""
        if not self._covered('roll_detaching', volume_id):
            return self._api.roll_detaching(context, volume_id)
        return None

    def migrate_volume_completion(
        self, context: Any, old_volume_id: str, new_volume_id: str, error: bool = False
    ) -> Any:
        """As Nova's client, but for a covered swap; it is the last call of one."""
        if self._covered('migrate_volume_completion', old_volume_id, new_volume_id):
            self.uncover()
            return {'save_volume_id': old_volume_id}
        return self._api.migrate_volume_completion(
            context, old_volume_id, new_volume_id, error=error
        )


def guard(manager: Any) -> Guard:
    """Put a guard before the manager's client of Cinder, once."""
    if not isinstance(manager.volume_api, Guard):
        manager.volume_api = Guard(manager.volume_api)
    found: Guard = manager.volume_api
    return found
