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
"""Options of the driver inside nova-compute, and of what it does on its own."""

from __future__ import annotations

from oslo_config import cfg

OPTS: list[cfg.Opt] = [
    cfg.ListOpt(
        'native_protocols',
        default=['rbd'],
        help="""
The kinds of volumes that QEMU opens by itself, as network disks: attach, reboot, live migration,
extend and swap then use one and the same ``<disk>``. All other kinds are attached by Nova's own
drivers, as devices or mounted files of the host; they can be swapped as well.

The default is what Nova does without us: rbd as a network disk. With iscsi and nfs the host
needs neither sessions nor mounts, but QEMU its block modules, and all hosts that a guest can
migrate to live the same setting. What is attached stays attached the way it was until it is
detached, hard rebooted or swapped.

Possible values: a list of ``rbd``, ``iscsi``, ``nfs``, and of other kinds that a package
registers a driver for; empty for none.
""",
    ),
    cfg.BoolOpt(
        'allow_larger',
        default=False,
        help="""
In nova-compute: let a guest go to a volume that is larger than its disk, as backends that round
up make it. The copy uses a part of it; right after the switch the guest is given the rest, which
it would see after its next hard reboot anyway. That goes by QEMU's monitor, for which libvirt
taints the domain (``custom-monitor``). An encrypted disk has the rest from its next hard reboot.

The extra spec ``blockmirror:allow_larger`` of the destination's volume type goes before it.

Possible values: true; false to refuse a destination that is not equal to the byte.
""",
    ),
    cfg.FloatOpt(
        'reconcile_interval',
        default=60.0,
        min=1.0,
        help="""
Seconds between two looks for swaps that nobody runs, and for what Nova and Cinder were not told
yet. The first is when nova-compute starts. Each look reads the journal, and only what is open in
it costs more.
""",
    ),
    cfg.BoolOpt(
        'notifications',
        default=True,
        help="""
Whether nova-compute sends a notification of each step of a swap: ``blockmirror.swap.start``,
``progress``, ``ready``, ``end`` and ``error``, with a payload whose schema is published. Where
they go is said by ``[oslo_messaging_notifications]``, whose default is nowhere. A message bus
that does not answer holds no swap: what it does not take is dropped, and counted in the log.

Related options: ``notification_interval``.
""",
    ),
    cfg.FloatOpt(
        'notification_interval',
        default=30.0,
        min=0.0,
        help="""
Seconds between two notifications ``blockmirror.swap.progress`` of one swap; 0 sends each that is
read.
""",
    ),
]
