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
"""Options of tempest.conf, section ``[blockmirror]``."""

from __future__ import annotations

from oslo_config import cfg

GROUP = cfg.OptGroup('blockmirror', title='Volumes of running servers move by Blockmirror')

OPTS: list[cfg.Opt] = [
    cfg.StrOpt(
        'image_ref',
        default='',
        help="""
Id of an image whose guest writes to each of its disks, and prints on its console what comes of
it: see ``blockmirror_driver.tempest_plugin.heartbeat``. Without one all tests are skipped.
""",
    ),
    cfg.StrOpt(
        'host_command',
        default='',
        help="""
Command line that runs ``blockmirror`` on the compute host, on nova-compute's journal. The tests
append a command and its arguments. Quotes and backslashes work as in a shell, nothing else does.

Without it tests that need it are skipped, and the others can't tell which driver moved a volume.
An example: ``ssh compute1 sudo blockmirror --config-file /etc/nova/nova.conf``.
""",
    ),
    cfg.StrOpt(
        'compute_command',
        default='',
        help="""
Command line that ends nova-compute on the compute host and starts it again. The tests append one
of these; what is not understood must fail. Without it tests that need it are skipped.

Possible values:

* ``kill``: end it with SIGKILL
* ``start``: start it unless it runs, and return when it works
* ``doom``: start it so that it kills itself when its journal is told that a guest has switched
""",
    ),
    cfg.StrOpt(
        'backend_command',
        default='',
        help="""
Command line that reaches the storage of a backend. The tests append one of these; what is not
understood must fail. Without it tests that need it are skipped.

Possible values:

* ``stop BACKEND``: let it answer nothing any more, as when its network is gone
* ``start BACKEND``: let it answer again
* ``allocated BACKEND VOLUME``: print how many bytes a volume takes there, by its name there
""",
    ),
    cfg.ListOpt(
        'thin_backends',
        default=[],
        help="""
Backends on which a volume has to stay as thin as it was, by moves from each to the next. Without
any these are all of ``[volume] backend_names``. Leave out those of NFS that the host of the server
does not mount: QEMU's own client of NFS knows no holes.
""",
    ),
    cfg.IntOpt(
        'move_timeout',
        default=300,
        min=1,
        help="""
Seconds that a volume of ``[volume] volume_size`` may take from one backend to another.
""",
    ),
    cfg.IntOpt(
        'slow_bandwidth',
        default=4 << 20,
        min=1,
        help="""
Bytes per second of a copy that a test interrupts. It must be so slow that a volume takes longer
than a test needs to ask for the copy's end.
""",
    ),
]
