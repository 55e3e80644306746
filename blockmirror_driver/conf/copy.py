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
"""Options of one copy; each may be overridden per call."""

from __future__ import annotations

from oslo_config import cfg

OPTS: list[cfg.Opt] = [
    cfg.StrOpt(
        'copy_method',
        default='auto',
        help="""
How a copy is started.

Possible values:

* ``auto``, ``blockcopy``: libvirt's virDomainBlockCopy
* ``rebase``: libvirt's virDomainBlockRebase, for local paths and transient domains only
* ``qmp``: QEMU's own blockdev-mirror, behind libvirt's back. It taints the domain, and ends with
  a copy, not with a pivot; not for use by nova-compute.
* another name of the entry points in ``blockmirror.copy_methods``.
""",
    ),
    cfg.IntOpt(
        'bandwidth',
        default=0,
        min=0,
        help="""
Bytes per second that one copy may move; 0 means unlimited.
""",
    ),
    cfg.IntOpt(
        'granularity',
        default=0,
        min=0,
        max=64 * 1024 * 1024,
        help="""
Bytes that one bit of the mirror's dirty bitmap stands for; 0 leaves it to QEMU (64 KiB, or the
size of a qcow2 image's clusters).

A write of the guest to what was copied makes that much be copied again, so that 1 MiB suits only
a guest that hardly writes.

Possible values: 0, or a power of two from 512 to 67108864.
""",
    ),
    cfg.IntOpt(
        'buf_size',
        default=0,
        min=0,
        help="""
Bytes of data in flight between source and destination, which QEMU needs as memory for as long
as the copy runs. 0 is 32 MiB for a copy without a limit of a guest that did not write while the
destination was opened, 1 MiB with ``latency_target``, and else, as from and to iscsi, QEMU's own
16 MiB.

QEMU moves a sixteenth of it by one request, and 1 MiB at the least. The larger they are, the
longer has a guest to wait that writes meanwhile; see ``latency_target``. Between files, rbd
and nfs full volumes took 0.8 to 1.0 of the time with 32 MiB that they take with 16, from and
to iscsi 1.3; with 128 MiB 0.7 from file to file, and no less elsewhere (1 and 4 GiB, QEMU
7.2, two cores).
""",
    ),
    cfg.FloatOpt(
        'latency_target',
        default=0.0,
        min=0.0,
        help="""
Seconds that a write of the guest to the disk may take, on average, while it is copied; 0 is no
target.

The copy begins with 32 MiB/s. While the guest's writes take longer it is slowed down, to 1 MiB/s
at the least and never to less than the guest dirties; while they don't it may go faster, up to
``bandwidth``. Say what they take
without a copy, and half of that again. Where they take longer than that without the copy, too, it
may cost them half as much again as that. ``buf_size`` is 1 MiB then where it is not set.
""",
    ),
    cfg.BoolOpt(
        'synchronous_writes',
        default=False,
        help="""
Send each write of the guest to both sides while the copy runs, so that it always converges.

The guest's writes take longer meanwhile.
""",
    ),
    cfg.StrOpt(
        'convergence',
        default='go-on',
        choices=[
            ('go-on', 'say so, and go on until copy_timeout'),
            ('abort', 'cancel the copy; the guest stays on its source'),
            ('synchronous', 'have its writes wait for both sides (QEMU 8.2; taints the domain)'),
        ],
        help="""
What to do when the guest dirties the disk as fast as the copy moves it, so that it never ends.

Related options: ``convergence_window``, ``synchronous_writes``, which always converges.
""",
    ),
    cfg.FloatOpt(
        'convergence_window',
        default=300.0,
        min=1.0,
        help="""
Seconds over which that is judged: of what is moved within them a tenth has to be gained.
""",
    ),
    cfg.BoolOpt(
        'verify_contents',
        default=False,
        help="""
Read both sides and compare them, byte for byte, when the copy is ready and before the pivot.

The guest goes on meanwhile; what it writes is read again. It takes as long as reading both
volumes does, and the copy stays ready all the time. Raw volumes only.

Related options: ``verify_pause``.
""",
    ),
    cfg.FloatOpt(
        'verify_pause',
        default=1.0,
        min=0.0,
        help="""
Seconds for which the guest may be paused to compare blocks that it writes all the time.

With 0 it is never paused, and a swap with such blocks goes back to its source. Where a disk of
rbd has ``cache='writeback'``, librbd may keep data for a second or two: let it be 3.
""",
    ),
    cfg.FloatOpt(
        'copy_timeout',
        default=86400.0,
        min=1.0,
        help="""
Seconds within which the copy must become ready; then it is cancelled and the guest stays on
its source.
""",
    ),
    cfg.FloatOpt(
        'pivot_timeout',
        default=60.0,
        min=1.0,
        help="""
Seconds within which a requested pivot must be seen to have happened. After that the swap is
read again by its evidence; a pivot is never rolled back.
""",
    ),
    cfg.FloatOpt(
        'abort_timeout',
        default=60.0,
        min=1.0,
        help="""
Seconds within which a requested abort must end the block job. A destination that hangs can
hold it for longer; the swap is then reported as unknown and taken up by recover.
""",
    ),
    cfg.FloatOpt(
        'stall_after',
        default=30.0,
        min=1.0,
        help="""
Seconds without progress of the copy after which it counts as stalled.

Related options: ``stall_timeout``.
""",
    ),
    cfg.FloatOpt(
        'stall_timeout',
        default=600.0,
        min=1.0,
        help="""
Seconds that a copy may stay stalled before it is cancelled.

Related options: ``stall_after``.
""",
    ),
    cfg.FloatOpt(
        'poll_interval',
        default=5.0,
        min=0.1,
        help="""
Seconds between two slow readings of the block job and of ``<mirror>``. Events are the fast
path; this reading is the authority when events are lost. Where one process makes many swaps,
each is read less often, once in six times this long at least.
""",
    ),
    cfg.FloatOpt(
        'probe_timeout',
        default=15.0,
        min=1.0,
        help="""
Seconds within which the destination must open, with the same address and secrets, in a
throwaway domain on this host. A destination that does not is refused, since opening it in the
guest's own process would freeze the guest.
""",
    ),
]
