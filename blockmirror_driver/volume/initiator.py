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
"""The name that this host logs in to iscsi targets with."""

from __future__ import annotations

from pathlib import Path

from oslo_config import cfg

from blockmirror_driver.conf import GROUP
from blockmirror_driver.volume.target import is_name

#: Where open-iscsi keeps it, and os-brick reads it for Cinder's access lists.
INITIATOR_FILE = Path('/etc/iscsi/initiatorname.iscsi')
_KEY = 'InitiatorName='


def name(conf: cfg.ConfigOpts, file: Path | None = None) -> tuple[str | None, str]:
    """Return the initiator's name from the option or the host, and a note or ''.

    Reads a local file. Never raises: without a name QEMU makes one up, which arrays that
    check it refuse, and the probe of the destination tells.
    """
    configured: str | None = conf[GROUP].iscsi_initiator_name
    if configured:
        if is_name(configured):
            return configured, ''
        return None, 'iscsi: [blockmirror] iscsi_initiator_name is not a name; ignored'
    try:
        text = (file or INITIATOR_FILE).read_text(encoding='ascii', errors='replace')
    except OSError as exc:
        return None, f"iscsi: the host's initiator name is not readable ({exc.strerror})"
    for line in text.splitlines():
        value = line.strip().removeprefix(_KEY).strip()
        if line.strip().startswith(_KEY) and is_name(value):
            return value, ''
    return None, 'iscsi: the host has no initiator name'
