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
"""Targets of tgtd, on Cinder's own class for it."""

from __future__ import annotations

import contextlib
import os
import pathlib
from typing import Any

from cinder import exception
from cinder.volume.targets import tgt
from oslo_concurrency import processutils
from oslo_log import log

LOG = log.getLogger(__name__)

_CONF = """\
<target {name}>
    driver iscsi
    <backing-store {path}>
        params thin_provisioning=1
        write-cache {write_cache}
        scsi_sn {volume}
        scsi_id {volume}
    </backing-store>
    incominguser {user} {password}
</target>
"""


class FileTarget(tgt.TgtAdm):
    """Differs from its parent in how a target is made.

    The unit takes UNMAP; CHAP's password goes to a file of mode 0600 and to no log; a target
    without CHAP is not made; and nothing waits for devices, since there are none.
    """

    def create_iscsi_target(
        self, name: str, tid: Any, lun: Any, path: str, chap_auth: Any = None, **kwargs: Any
    ) -> Any:
        """Make the target, or make it anew when nobody is logged in to it.

        :return: its number
        :raise ISCSITargetCreateFailed: tgtd does not have it afterwards. Its file is removed
            again, unless it was there before.
        """
        volume = name.split(':')[1]
        if not chap_auth:
            raise exception.ISCSITargetCreateFailed(volume_id=volume)
        user, password = chap_auth
        file = pathlib.Path(self.volumes_dir) / volume
        known = file.exists()
        self._write(
            file,
            _CONF.format(
                name=name,
                path=path,
                volume=volume,
                write_cache=self.configuration.iscsi_write_cache,
                user=user,
                password=password,
            ),
        )
        try:
            self._do_tgt_update(name)
            number = self._get_target(name)
            if number is None or not self._verify_backing_lun(name, number):
                LOG.error(
                    "tgtd has no target %s with a unit: does tgtd's configuration include %s/*?",
                    name,
                    self.volumes_dir,
                )
                raise exception.ISCSITargetCreateFailed(volume_id=volume)
        except (processutils.ProcessExecutionError, exception.ISCSITargetCreateFailed) as exc:
            if not known:
                with contextlib.suppress(FileNotFoundError):
                    file.unlink()
            if isinstance(exc, exception.ISCSITargetCreateFailed):
                raise
            LOG.error('tgt-admin --update %s: %s', name, exc.stderr)  # noqa: TRY400 - told
            raise exception.ISCSITargetCreateFailed(volume_id=volume) from exc
        return number

    @staticmethod
    def _write(file: pathlib.Path, text: str) -> None:
        """Put the file there whole; tgt-admin's ``*`` passes over names with a dot."""
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = file.with_name(f'.{file.name}')
        with contextlib.suppress(FileNotFoundError):
            new.unlink()
        number = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(number, 'w') as stream:
            stream.write(text)
        new.replace(file)
