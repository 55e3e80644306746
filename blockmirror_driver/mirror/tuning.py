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
"""What a copy is told where nobody has said: how much QEMU is to have in flight.

QEMU's mirror makes 16 requests at a time (MAX_IN_FLIGHT, block/mirror.c), so that each is a
sixteenth of what is in flight, and 1 MiB at the least. With 32 MiB they are as large as those of
``qemu-img convert``. Measured with full volumes (``doc/source/contributor/benchmark.rst``): that
suits rbd, nfs and files, and an iSCSI target takes longer over it, to read as to write.
"""

from __future__ import annotations

from dataclasses import replace

from blockmirror_driver.mirror.options import CopyOptions
from blockmirror_driver.model import Bytes, BytesPerSecond, IscsiSource, Source

#: QEMU's default of ``buf-size`` (block/mirror.c), which it moves before it pauses to keep to a
#: bandwidth.
DEFAULT_BUF_SIZE = Bytes(16 << 20)
#: Of a copy without a limit, of a guest that is idle.
BUF_SIZE = Bytes(32 << 20)
#: Of one that follows the guest's latency. QEMU moves a whole buffer at once and pauses then: a
#: copy that is slow is to be even, too.
GENTLE_BUF_SIZE = Bytes(1 << 20)
#: And what it may move at first, in bytes/s: what more does to the guest is learned by and by, and
#: one second without a limit is enough for the longest writes of the whole copy.
FIRST_BANDWIDTH = BytesPerSecond(32 << 20)


def tuned(options: CopyOptions, source: Source, destination: Source) -> CopyOptions:
    """Return the options with what suits this pair, and how the copy is to begin.

    ``buf_size`` is in bytes, 0 is QEMU's own; ``bandwidth`` in bytes/s.
    """
    buf_size = options.buf_size or _buffer(options, source, destination)
    return replace(options, buf_size=buf_size, bandwidth=_first(options))


def _first(options: CopyOptions) -> BytesPerSecond:
    if not options.latency_target:
        return options.bandwidth
    return min(options.bandwidth or FIRST_BANDWIDTH, FIRST_BANDWIDTH)


def _buffer(options: CopyOptions, *ends: Source) -> Bytes:
    if options.method == 'rebase':
        return Bytes(0)  # blockRebase has no word for it
    if options.latency_target:
        return GENTLE_BUF_SIZE
    # A write of the guest waits for what is in flight.
    if options.bandwidth or options.calm or any(isinstance(end, IscsiSource) for end in ends):
        return Bytes(0)
    return BUF_SIZE
