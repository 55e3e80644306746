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
"""Arguments that several commands share, and their types."""

from __future__ import annotations

import argparse
import dataclasses
import datetime as dt
import re
from collections.abc import Callable
from typing import Any, TypeVar

from blockmirror_driver import exception
from blockmirror_driver.mirror.options import CONVERGENCE, CopyOptions
from blockmirror_driver.model import parse_bytes

_T = TypeVar('_T')

_CLOCK = re.compile(r'[0-2][0-9]:[0-5][0-9]', re.ASCII)
_WEEK = dt.timedelta(days=7)

ZEROED = (
    'the destination reads as zeroes all over, so that none are written; it is looked at before, '
    'and what takes too long has to be compared (--verify-contents); libvirt 12.2'
)


def _checked(read: Callable[[str], _T]) -> Callable[[str], _T]:
    """Turn our error into argparse's, which then says which option it was."""

    def checked(text: str) -> _T:
        try:
            return read(text)
        except exception.UsageError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return checked


def time_to_come(text: str) -> float:
    """Read a time of the next seven days, as seconds since the epoch.

    :param text: ``2026-11-27T02:00``, with or without seconds and an offset, or ``02:00`` for
        the next one; without an offset it is the host's local time.
    """
    now = dt.datetime.now().astimezone()
    try:
        if _CLOCK.fullmatch(text):
            found = dt.datetime.combine(now.date(), dt.time.fromisoformat(text)).astimezone()
            if found <= now:
                found = dt.datetime.combine(
                    now.date() + dt.timedelta(days=1), found.time()
                ).astimezone()
        else:
            found = dt.datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError) as error:
        raise argparse.ArgumentTypeError(
            f'no such time: {text[:40]!r}; write 2026-11-27T02:00 or 02:00'
        ) from error
    if not now < found <= now + _WEEK:
        raise argparse.ArgumentTypeError(
            f'{found.isoformat(timespec="seconds")} is not within the next seven days'
        )
    return found.timestamp()


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError as error:
        raise exception.UsageError(f'not a number of seconds: {text[:40]!r}') from error
    if not 0 < value < float('inf'):
        raise exception.UsageError(f'must be more than 0 seconds: {text[:40]!r}')
    return value


def _pause(text: str) -> float:
    return 0.0 if text == '0' else _seconds(text)


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 20):
        raise exception.UsageError(f'not a whole number of 0 or more: {text[:40]!r}')
    return int(text)


def _at_least_one(text: str) -> int:
    value = _whole(text)
    if not value:
        raise exception.UsageError('must be 1 or more')
    return value


#: 1 or more.
at_least_one = _checked(_at_least_one)
#: ``64MiB``, ``1G``, ``1048576``.
quantity = _checked(parse_bytes)
#: More than 0, may be a fraction.
seconds = _checked(_seconds)
#: 0 or more.
pause = _checked(_pause)
#: A number as virsh takes it, 0 or more.
whole = _checked(_whole)


def add_domain(parser: argparse.ArgumentParser) -> None:
    """Add DOMAIN."""
    parser.add_argument('domain', metavar='DOMAIN', help="the running domain's name or UUID")


def add_domain_and_disk(parser: argparse.ArgumentParser) -> None:
    """Add DOMAIN and DISK."""
    add_domain(parser)
    parser.add_argument('disk', metavar='DISK', help="the disk's target, for example vda")


def add_connection_info(parser: argparse.ArgumentParser) -> None:
    """Add CONNECTION.json."""
    parser.add_argument(
        'connection_info',
        metavar='CONNECTION.json',
        help="Cinder's connection_info of the destination; - reads standard input",
    )
    add_key(parser)


def add_key(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add ``--key-file`` and ``--key-id``."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        '--key-file',
        metavar='PATH',
        help='the destination is encrypted with LUKS, and this file is its passphrase, to the '
        'last byte; - reads standard input',
    )
    group.add_argument(
        '--key-id',
        metavar='UUID',
        help='the destination is encrypted with LUKS, and the key manager of the configuration '
        'has its key under this id (encryption_key_id with Cinder)',
    )


def add_swap_id(parser: argparse.ArgumentParser) -> None:
    """Add SWAP."""
    parser.add_argument(
        'swap', metavar='SWAP', help="the swap's id, or a beginning of it that only one has"
    )


def add_copy_options(parser: argparse.ArgumentParser) -> None:
    """Add an option for every field of ``CopyOptions``; see :func:`copy_options`."""
    group = parser.add_argument_group(
        'copy options', 'defaults are those of the configuration, group [blockmirror]'
    )
    group.add_argument(
        '--method',
        metavar='METHOD',
        help='auto or blockcopy: virDomainBlockCopy; rebase: virDomainBlockRebase (local paths, '
        'transient domains); qmp: blockdev-mirror of QEMU, which libvirt does not see',
    )
    for name, text in (
        ('bandwidth', 'bytes per second, for example 100MiB; 0 is unlimited'),
        ('granularity', 'bytes per bit of the dirty bitmap, a power of two; 0 is automatic'),
        ('buf-size', 'bytes in flight; 0 is automatic'),
    ):
        group.add_argument(f'--{name}', type=quantity, metavar='SIZE', help=text)
    flag = argparse.BooleanOptionalAction
    for name, text in (
        ('synchronous-writes', "send the guest's writes to both sides (…_SYNCHRONOUS_WRITES)"),
        ('shallow', 'copy the top layer only, sharing the backing chain (…_SHALLOW)'),
        ('reuse-external', 'the destination exists already (…_REUSE_EXT); the default'),
        ('transient-job', 'the job need not outlive the guest (…_TRANSIENT_JOB); the default'),
        ('target-zeroed', f'{ZEROED} (…_TARGET_ZEROED)'),
    ):
        group.add_argument(f'--{name}', action=flag, default=None, help=text)
    add_times(group)
    add_convergence(group)
    add_latency(group)
    add_budget_wait(group)
    add_verification(group)
    add_permissions(group)


def add_permissions(group: argparse._ArgumentGroup) -> None:
    """Add ``--decrypt`` and ``--allow-larger``."""
    group.add_argument(
        '--decrypt',
        action='store_true',
        default=None,
        help='what is encrypted now may go to a volume that is not',
    )
    group.add_argument(
        '--allow-larger',
        action='store_true',
        default=None,
        help='take a larger destination; the guest goes on to see as many bytes as now',
    )
    group.add_argument(
        '--pivot-behind-libvirt',
        action='store_true',
        default=None,
        help='with --method qmp: switch the guest all the same. libvirt names the old volume '
        'until the guest is powered off; nothing may migrate it or copy this disk before',
    )


def add_convergence(group: argparse._ArgumentGroup) -> None:
    """Add ``--convergence`` and ``--convergence-window``."""
    group.add_argument(
        '--convergence',
        choices=CONVERGENCE,
        help='what to do when the guest writes as fast as the copy moves: say so and go on, '
        'cancel it (exit code 4), or have its writes wait for both sides (QEMU 8.2)',
    )
    group.add_argument(
        '--convergence-window',
        type=seconds,
        metavar='SECONDS',
        help='over which that is judged: a tenth of what is moved has to be gained',
    )


def add_latency(group: argparse._ArgumentGroup) -> None:
    """Add ``--latency-target``."""
    group.add_argument(
        '--latency-target',
        type=pause,
        metavar='SECONDS',
        help='slow the copy down while writes of the guest take longer than that on average; 0 is '
        'no target',
    )


def add_budget_wait(group: argparse._ArgumentGroup) -> None:
    """Add ``--budget-wait``."""
    group.add_argument(
        '--budget-wait',
        type=pause,
        metavar='SECONDS',
        help='wait so long for a turn where enough swaps run on this host, or to that backend; 0 '
        'is not at all',
    )


def add_verification(group: argparse._ArgumentGroup) -> None:
    """Add ``--verify-contents`` and ``--verify-pause``."""
    group.add_argument(
        '--verify-contents',
        action=argparse.BooleanOptionalAction,
        default=None,
        help='compare both sides, byte for byte, before the pivot or the end of the copy',
    )
    group.add_argument(
        '--verify-pause',
        type=pause,
        metavar='SECONDS',
        help='for which the guest may be paused to compare blocks that it writes all the time; '
        '0 is never',
    )


def add_times(group: argparse._ArgumentGroup) -> None:
    """Add an option for every time of ``CopyOptions``."""
    for name, dest, text in (
        ('--timeout', 'copy_timeout', 'the copy must be ready within this time'),
        ('--pivot-timeout', 'pivot_timeout', 'the pivot must be seen within this time'),
        ('--abort-timeout', 'abort_timeout', 'a cancelled job must end within this time'),
        ('--stall-after', 'stall_after', 'a cursor that stands this long is a stall'),
        ('--stall-timeout', 'stall_timeout', 'a stall that lasts this long cancels the copy'),
        ('--poll-interval', 'poll_interval', 'between two slow readings of the job'),
        ('--probe-timeout', 'probe_timeout', 'the destination must open within this time'),
    ):
        group.add_argument(name, dest=dest, type=seconds, metavar='SECONDS', help=text)


def copy_options(parsed: argparse.Namespace) -> dict[str, Any]:
    """Return what was given for ``CopyOptions.from_conf``; ``None`` is not given.

    An option of the command has the name of the field that it is for.
    """
    return {one.name: getattr(parsed, one.name, None) for one in dataclasses.fields(CopyOptions)}


def add_attempts(parser: argparse.ArgumentParser) -> None:
    """Add ``--attempts`` and ``--attempt-interval``."""
    group = parser.add_argument_group('attempts')
    group.add_argument(
        '--attempts',
        type=at_least_one,
        metavar='N',
        default=1,
        help='begin anew when the copy failed or stood still and has gone back, N times in all; '
        'of several iscsi portals the first that answers by then is taken (default: 1)',
    )
    group.add_argument(
        '--attempt-interval',
        type=seconds,
        metavar='SECONDS',
        default=10.0,
        help='between two of them (default: 10)',
    )


def add_events(parser: argparse.ArgumentParser) -> None:
    """Add ``--events`` and ``--events-file``."""
    group = parser.add_argument_group('progress')
    group.add_argument(
        '--events',
        choices=('jsonl',),
        help='write each event as one line of JSON to stdout, in place of the result; the schema '
        'is installed as blockmirror_driver/cli/events.schema.json',
    )
    group.add_argument(
        '--events-file', metavar='PATH', help='append the events to this file instead of stdout'
    )
