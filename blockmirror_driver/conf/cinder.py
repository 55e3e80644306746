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
"""Options that cinder-volume reads: of the ``tgtfile`` backend, and of offline copies."""

from __future__ import annotations

from oslo_config import cfg

#: In the section of a backend, beside Cinder's own.
BACKEND_OPTS: list[cfg.Opt] = [
    cfg.StrOpt(
        'tgtfile_directory',
        default='/var/lib/cinder/tgtfile',
        help="""
The directory of the volumes' files. It is made with mode 0700 and belongs to the user that
cinder-volume runs as. Two backends need two directories.
""",
    ),
]

#: In ``[blockmirror]`` of cinder.conf, where ``bandwidth``, ``copy_timeout`` and
#: ``probe_timeout`` count as well.
OPTS: list[cfg.Opt] = [
    cfg.StrOpt(
        'offline_copy',
        default='auto',
        choices=[
            ('auto', "copy where both kinds are known and both volumes open; else Cinder's way"),
            ('always', "copy, or fail the migration: never Cinder's way"),
            ('never', "Cinder's way: attach both volumes to this host and run dd"),
        ],
        help="""
How cinder-volume copies a volume that no server uses, when ``volume_manager`` is ours.

Related options: ``offline_verify``, ``bandwidth``, ``copy_timeout``, ``probe_timeout``.
""",
    ),
    cfg.BoolOpt(
        'offline_verify',
        default=False,
        help="""
Read both volumes once more after an offline copy, and fail the migration if they differ. It takes
about as long as the copy.
""",
    ),
]
