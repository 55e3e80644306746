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
"""Options of the hypervisor connection and of what one host may do at a time."""

from __future__ import annotations

from oslo_config import cfg

OPTS: list[cfg.Opt] = [
    cfg.StrOpt(
        'connection_uri',
        default='qemu:///system',
        help="""
The libvirt connection that the ``blockmirror`` command uses.

Inside nova-compute a connection of our own to the same URI as Nova's is used instead.

Possible values: any libvirt URI of a local QEMU driver, for example ``qemu:///system``.
""",
    ),
    cfg.IntOpt(
        'keepalive_interval',
        default=5,
        min=0,
        help="""
Seconds between two keepalive messages on the libvirt connection; 0 switches them off.

Related options: ``keepalive_count``.
""",
    ),
    cfg.IntOpt(
        'keepalive_count',
        default=3,
        min=1,
        help="""
Keepalive messages without an answer after which the connection counts as dead and is opened
again.

Related options: ``keepalive_interval``.
""",
    ),
    cfg.FloatOpt(
        'call_timeout',
        default=30.0,
        min=1.0,
        help="""
Seconds to wait for a libvirt call that should answer at once.

libvirt itself has no timeout per call. A call that takes longer is left alone in its own
thread, counted and reported; the swap decides by what else it can see.
""",
    ),
    cfg.IntOpt(
        'max_concurrent_swaps',
        default=2,
        min=1,
        help="""
Swaps that may copy at the same time on this host.

Related options: ``max_host_bandwidth``, ``budget_wait``.
""",
    ),
    cfg.IntOpt(
        'max_host_bandwidth',
        default=0,
        min=0,
        help="""
Bytes per second that all swaps of this host may be given together; 0 means unlimited.

Swaps without a bandwidth of their own share what those with one leave, in equal parts that change
as swaps come and go. A swap to which 1 MiB/s is not left waits or is refused.

Related options: ``bandwidth``, ``max_concurrent_swaps``, ``budget_wait``.
""",
    ),
    cfg.IntOpt(
        'max_backend_swaps',
        default=0,
        min=0,
        help="""
Swaps of this host that may copy to one backend at the same time; 0 means no other limit than
``max_concurrent_swaps``.

A backend is the pool of a Ceph cluster, the host of an iSCSI or NBD portal, the export of an NFS
server, a directory of files, or all block devices of the host together.

Related options: ``max_backend_bandwidth``, ``budget_wait``.
""",
    ),
    cfg.IntOpt(
        'max_backend_bandwidth',
        default=0,
        min=0,
        help="""
Bytes per second that all swaps of this host to one backend may be given together; 0 means no other
limit than ``max_host_bandwidth``.

It is shared as ``max_host_bandwidth`` is, among the swaps to that backend.

Related options: ``max_backend_swaps``, ``budget_wait``.
""",
    ),
    cfg.FloatOpt(
        'budget_wait',
        default=0.0,
        min=0.0,
        help="""
Seconds that a swap waits for its turn where it does not fit into the limits of this host or its
backend; 0 means that it is refused at once.

First come, first served, over all processes that share ``journal_path``; a swap that waits for one
backend holds up none to another. After waiting it is planned anew. Nothing of it is changed before
its turn; in nova-compute the new volume is connected meanwhile.

Related options: ``max_concurrent_swaps``, ``max_host_bandwidth``, ``max_backend_swaps``,
``max_backend_bandwidth``.
""",
    ),
]
