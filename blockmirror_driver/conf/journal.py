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
"""Options of the journal."""

from __future__ import annotations

from oslo_config import cfg

OPTS: list[cfg.Opt] = [
    cfg.StrOpt(
        'journal_path',
        default='/var/lib/blockmirror/journal.sqlite',
        help="""
The file that records each swap before each step.

It must be on a local file system that survives a reboot. Its directory is created with mode
0700 and it belongs to the user who runs swaps; in Nova that is nova-compute's user. It never
holds a secret.
""",
    ),
    cfg.IntOpt(
        'journal_retention_days',
        default=30,
        min=0,
        help="""
Days after which a finished swap leaves the journal; 0 keeps all.
""",
    ),
]
