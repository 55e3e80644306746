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
"""What is checked before a swap touches anything, beside the plan: Cinder's side of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from blockmirror_driver import exception

#: Cinder's ``migration_status`` of a volume that is being moved, and of where it goes
#: (``migration_status`` in cinder/volume/manager.py, ``_migrate_volume_generic``).
_MIGRATING = 'migrating'
_TARGET = 'target:{}'

Volume = Mapping[str, Any]


def check_migration(old: Volume, new: Volume) -> None:
    """Check that Cinder moves the old volume to the new one, and waits for us.

    The API lets a swap through for any volume that was ever migrated. The guest would be
    switched, Cinder would refuse to complete, and both would go separate ways.

    :param old: and ``new``: volumes as Nova's client returns them, with the rights of an
        administrator.
    :raise PlanRefused: nothing was touched.
    """
    status = old.get('migration_status')
    if status != _MIGRATING:
        raise _refused(
            f'Cinder is not migrating volume {old["id"]} (migration_status {status})',
            'a volume of a running server is moved with cinder retype or cinder migrate',
        )
    target = new.get('migration_status')
    if target != _TARGET.format(old['id']):
        raise _refused(
            f'Cinder does not migrate volume {old["id"]} to {new["id"]} '
            f'(its migration_status is {target})',
            'a volume of a running server is moved with cinder retype or cinder migrate',
        )


def check_attachments(
    old_attachment_id: str | None, new_attachment_id: str | None
) -> tuple[str, str]:
    """Return both ids: each side has an attachment of its own, to be completed or deleted.

    :raise PlanRefused: nothing was touched.
    """
    if not old_attachment_id:
        raise _refused(
            'the volume was attached by a release before Queens',
            'detach it and attach it again',
        )
    if not new_attachment_id:
        raise _refused(
            'Cinder shows no attachment of the new volume to this server', 'start the move again'
        )
    return old_attachment_id, new_attachment_id


def _refused(message: str, hint: str) -> exception.PlanRefused:
    return exception.PlanRefused(message, failed=['cinder'], hint=hint)
