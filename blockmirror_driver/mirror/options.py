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
"""What may be said about one copy: how to copy, how fast, and how long to wait."""

from __future__ import annotations

from dataclasses import dataclass, fields
from importlib import metadata
from typing import Any

from oslo_config import cfg

from blockmirror_driver import conf as bm_conf
from blockmirror_driver import exception
from blockmirror_driver.model import Bytes, BytesPerSecond, Seconds

#: The stevedore namespace of the ways to copy, see ``mirror.methods``.
NAMESPACE = 'blockmirror.copy_methods'
#: The ways that come with this package; ``auto`` is ``blockcopy``.
METHODS = ('auto', 'blockcopy', 'rebase', 'qmp')
#: The one that libvirt does not see, see ``mirror.passthrough``.
QMP = 'qmp'

#: QEMU's mirror takes a granularity of 512 bytes to 64 MiB (qapi/block-core.json).
GRANULARITY_MIN, GRANULARITY_MAX = 512, 64 * 1024 * 1024
#: libvirt's typed parameters are unsigned long long, QEMU's are signed (libvirt.h).
LARGEST = (1 << 63) - 1
_TIMES = (
    'copy_timeout',
    'pivot_timeout',
    'abort_timeout',
    'stall_after',
    'stall_timeout',
    'poll_interval',
    'probe_timeout',
    'convergence_window',
)
SYNCHRONOUS = 'synchronous'
#: What is done about a guest that dirties as fast as the copy moves.
CONVERGENCE = ('go-on', 'abort', SYNCHRONOUS)


@dataclass(frozen=True, slots=True)
class CopyOptions:
    """The options of one copy; the defaults are those of ``blockmirror_driver.conf``.

    ``bandwidth`` is in bytes/s, ``granularity`` and ``buf_size`` in bytes (0 leaves the former
    to the hypervisor, and the latter to :mod:`.tuning`); all times are in seconds.
    ``reuse_external`` and ``transient_job`` are false only when the caller wants exactly what
    ``virsh blockcopy`` does without its flags: libvirt then creates a local destination, or
    refuses a persistent domain. ``decrypt`` lets what is encrypted go to a plain volume.
    ``allow_larger`` takes a larger destination, of which the guest sees as much as before.
    ``target_zeroed``: the destination reads as zeroes all over, so that none are written; it is
    looked at before.
    ``calm``: the guest writes, so that no more is to be in flight than by QEMU's default; the plan
    finds out.
    ``quiesce``: the guest's file systems may be frozen for the end of it, as a group does.
    ``convergence`` is what to do when a copy gained next to nothing on the guest within
    ``convergence_window``: ``go-on``, ``abort``, or ``synchronous``: have the running copy send
    the guest's writes to both sides.
    ``latency_target`` (seconds, 0 is none) slows the copy down while the guest's writes take
    longer than that on average; ``buf_size`` is then 1 MiB where it is not given.
    ``verify_contents`` has both sides compared before the end, and ``verify_pause`` is for how
    many seconds the guest may be stopped for blocks that it writes all the time.
    ``pivot_behind_libvirt`` lets a copy by ``qmp`` pivot, after which libvirt's live XML is
    wrong until the guest is powered off.
    ``budget_wait`` (seconds, 0 is not at all) is how long it may wait for its turn where the
    budget of its host or backend is used up.
    ``hold_until`` (seconds since the epoch, 0 is never) ends the
    waiting of a swap that is held in READY.

    :raise UsageError: when a value is out of range.
    """

    method: str = 'auto'
    bandwidth: BytesPerSecond = BytesPerSecond(0)
    granularity: Bytes = Bytes(0)
    buf_size: Bytes = Bytes(0)
    shallow: bool = False
    synchronous_writes: bool = False
    reuse_external: bool = True
    transient_job: bool = True
    decrypt: bool = False
    allow_larger: bool = False
    pivot_behind_libvirt: bool = False
    quiesce: bool = False
    calm: bool = False
    target_zeroed: bool = False
    latency_target: Seconds = Seconds(0.0)
    verify_contents: bool = False
    verify_pause: Seconds = Seconds(1.0)
    copy_timeout: Seconds = Seconds(86400.0)
    pivot_timeout: Seconds = Seconds(60.0)
    abort_timeout: Seconds = Seconds(60.0)
    stall_after: Seconds = Seconds(30.0)
    stall_timeout: Seconds = Seconds(600.0)
    poll_interval: Seconds = Seconds(5.0)
    probe_timeout: Seconds = Seconds(15.0)
    convergence: str = 'go-on'
    convergence_window: Seconds = Seconds(300.0)
    budget_wait: Seconds = Seconds(0.0)
    hold_until: float = 0.0

    def __post_init__(self) -> None:
        # Reading the metadata of all packages takes a while; ours need it not.
        if self.method not in METHODS and self.method not in _registered():
            raise exception.UsageError(f'no such way to copy: {self.method}')
        for name in ('bandwidth', 'granularity', 'buf_size'):
            value = getattr(self, name)
            if not 0 <= value <= LARGEST:
                raise exception.UsageError(f'{name} is out of range: {value}')
        check_granularity(self.granularity)
        for name in _TIMES:
            value = getattr(self, name)
            # NaN compares false with everything, so the test is written positively.
            if not 0 < value < float('inf'):
                raise exception.UsageError(f'{name} must be more than 0 seconds: {value}')
        if self.convergence not in CONVERGENCE:
            raise exception.UsageError(f'no such policy: {self.convergence[:40]!r}')
        for name in ('latency_target', 'verify_pause', 'budget_wait'):
            value = getattr(self, name)
            if not 0 <= value < float('inf'):
                raise exception.UsageError(f'{name} is out of range: {value}')
        if not 0 <= self.hold_until < float('inf'):
            raise exception.UsageError(f'hold_until is no time: {self.hold_until}')

    @classmethod
    def from_conf(cls, conf: cfg.ConfigOpts | None = None, **overrides: Any) -> CopyOptions:
        """Take the defaults from ``conf`` (group ``[blockmirror]``), then ``overrides``.

        An override of ``None`` counts as not given.

        :param conf: the configuration; the process's own when ``None``.
        :raise UsageError: when an override is unknown, or a value is out of range.
        """
        group = (conf if conf is not None else bm_conf.CONF)[bm_conf.GROUP]
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(overrides) - known)
        if unknown:
            raise exception.UsageError(f'no such option of a copy: {", ".join(unknown)}')
        if overrides.get('method') is None:
            overrides['method'] = group.copy_method
        values: dict[str, Any] = {name: getattr(group, name) for name in known if name in group}
        values.update({name: value for name, value in overrides.items() if value is not None})
        return cls(**values)


def _registered() -> frozenset[str]:
    return frozenset(metadata.entry_points(group=NAMESPACE).names)


def check_granularity(value: int) -> None:
    """Check that the hypervisor will take this granularity (bytes; 0 is its default).

    :raise UsageError: when it is neither 0 nor a power of two in QEMU's range.
    """
    if value == 0:
        return
    if not GRANULARITY_MIN <= value <= GRANULARITY_MAX or value & (value - 1):
        raise exception.UsageError(
            f'granularity must be a power of two from {GRANULARITY_MIN} to '
            f'{GRANULARITY_MAX} bytes: {value}'
        )
