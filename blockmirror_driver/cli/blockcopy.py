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
"""``blockmirror copy``: the options of ``virsh blockcopy``, one for one.

What each means is virsh's manual page (virsh(1), blockcopy); where we differ on purpose, the
help of the option says so.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from blockmirror_driver import exception
from blockmirror_driver.cli import arguments, destination, render
from blockmirror_driver.cli.copying import Columns, RunningCommand, show_notes
from blockmirror_driver.mirror.options import LARGEST, CopyOptions
from blockmirror_driver.model import Disk
from blockmirror_driver.model.disk import Format
from blockmirror_driver.qemu import filename
from blockmirror_driver.swap.request import Ending, SwapRequest
from blockmirror_driver.swap.states import SwapState

if TYPE_CHECKING:
    # Late: the service needs libvirt, which --help does not.
    from blockmirror_driver.swap.record import Outcome, SwapEvent

#: With --async nobody waits for a cancelled job to end: it is asked to, looked at once, and
#: left to end (seconds).
ASYNC_ABORT = 1.0
#: virsh's bandwidth is in MiB/s.
MIB = 1024 * 1024

#: Option, what libvirt calls it, and what it is for.
FLAGS = (
    ('shallow', 'VIR_DOMAIN_BLOCK_COPY_SHALLOW', 'share the backing chain of the source'),
    (
        'synchronous-writes',
        'VIR_DOMAIN_BLOCK_COPY_SYNCHRONOUS_WRITES',
        "send the guest's writes to both sides, so that the copy converges",
    ),
)


class Copy(RunningCommand):
    """Copy a disk of a running guest, with the options of virsh blockcopy.

    Without --wait, --pivot, --finish or --timeout the job is started and left running;
    blockmirror list shows it. With --wait alone it is left mirroring.
    """

    # The formatter's --format gives way to the format of the disk; -f is still the formatter.
    conflict_handler = 'resolve'

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Add virsh's options, and those of ours that virsh has no name for."""
        parser = super().get_parser(prog_name)
        arguments.add_domain_and_disk(parser)
        _add_destination(parser)
        _add_parameters(parser)
        _add_flags(parser)
        _add_waiting(parser)
        group = parser.add_argument_group('not of virsh')
        group.add_argument(
            '--method',
            metavar='METHOD',
            help='auto or blockcopy: virDomainBlockCopy; rebase: virDomainBlockRebase (local '
            'paths and transient domains only); qmp: blockdev-mirror of QEMU, which libvirt does '
            'not see, and taints the domain for',
        )
        arguments.add_key(group)
        arguments.add_permissions(group)
        arguments.add_convergence(group)
        arguments.add_latency(group)
        arguments.add_budget_wait(group)
        arguments.add_verification(group)
        arguments.add_attempts(parser)
        arguments.add_events(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Columns:
        """Copy, or print the XML that the copy would be started with."""
        check(parsed_args)
        disk, exists = self._destination(parsed_args)
        options = CopyOptions.from_conf(self.app.conf, **overrides(parsed_args, exists=exists))
        show_notes(self, disk)
        if parsed_args.print_xml:
            self.app.stdout.write(render.pretty(disk))
            self.silent = True
            return (), ()
        request = SwapRequest(
            parsed_args.domain,
            parsed_args.disk,
            disk,
            options,
            ending=ending(parsed_args),
            hold=mirrors_on(parsed_args),
        )
        return self.show(self._run(request, parsed_args))

    def _run(self, request: SwapRequest, parsed: argparse.Namespace) -> Outcome:
        service = self.app.service
        wanted = False

        def leave_when_ready(event: SwapEvent) -> None:
            # "Now in mirroring phase": virsh returns, and the job stays.
            nonlocal wanted
            if request.hold and event.state is SwapState.HELD:
                wanted = True
                service.leave()

        outcome = self.run_swap(request, parsed, display=parsed.verbose, observe=leave_when_ready)
        if wanted and outcome.state is SwapState.HELD:
            self.exit_code = 0
        return outcome

    def _destination(self, parsed: argparse.Namespace) -> tuple[Disk, bool]:
        """Return the destination, and whether it is a volume, which always exists."""
        if parsed.xml is not None:
            return destination.from_xml(parsed.xml, parsed.disk, self.app.stdin), False
        path = parsed.dest_option or parsed.dest
        kind = destination.kind_of(path)
        if kind == 'json':
            disk = destination.from_connection_info(
                path,
                parsed.disk,
                self.app.conf,
                self.app.stdin,
                key_file=parsed.key_file,
                key_id=parsed.key_id,
            )
            return disk, True
        if kind == 'xml':
            return destination.from_xml(path, parsed.disk), False
        disk_format: Format = parsed.disk_format or 'raw'
        if kind == 'qemu':
            return filename.disk_of(path, parsed.disk, disk_format), True
        disk = destination.from_path(path, parsed.disk, disk_format, block_device=parsed.blockdev)
        return disk, False


def check(parsed: argparse.Namespace) -> None:
    """Refuse the combinations that virsh refuses.

    :raise UsageError: naming the options.
    """
    given = [parsed.dest, parsed.dest_option, parsed.xml]
    if sum(value is not None for value in given) != 1:
        raise exception.UsageError(
            'exactly one destination is needed: DEST, --dest or --xml', hint=_HINT
        )
    path = parsed.dest if parsed.dest is not None else parsed.dest_option
    has_key = parsed.key_file is not None or parsed.key_id is not None
    if has_key and (path is None or destination.kind_of(path) != 'json'):
        raise exception.UsageError('a key is for a connection_info only', hint=_HINT)
    kind = 'xml' if path is None else destination.kind_of(path)
    for value, name, kinds in (
        (parsed.disk_format, '--format', ('path', 'qemu')),
        (parsed.blockdev, '--blockdev', ('path',)),
    ):
        if value and kind not in kinds:
            raise exception.UsageError(f'{name} is for a path only', hint=_HINT)
    waits = parsed.wait or parsed.pivot or parsed.finish or parsed.timeout is not None
    for value, name in ((parsed.verbose, '--verbose'), (parsed.asynchronous, '--async')):
        if value and not waits:
            raise exception.UsageError(
                f'{name} requires at least one of --timeout, --wait, --pivot, or --finish',
                hint=_HINT,
            )


_HINT = 'see blockmirror help copy'


def overrides(parsed: argparse.Namespace, *, exists: bool) -> dict[str, Any]:
    """Return virsh's options as those of ``CopyOptions``.

    :raise UsageError: when the bandwidth has more than 63 bits.
    """
    bandwidth = parsed.bandwidth
    if bandwidth is not None and not parsed.bytes:
        bandwidth *= MIB
    if bandwidth is not None and bandwidth > LARGEST:
        raise exception.UsageError(f'bandwidth must be less than {LARGEST // MIB}', hint=_HINT)
    # What virsh has no word against is not given where it is false.
    return arguments.copy_options(parsed) | {
        'bandwidth': bandwidth,
        'synchronous_writes': parsed.synchronous_writes or None,
        'target_zeroed': parsed.target_zeroed or None,
        'reuse_external': parsed.reuse_external or exists,
        'copy_timeout': parsed.timeout,
        'abort_timeout': ASYNC_ABORT if parsed.asynchronous else None,
    }


def ending(parsed: argparse.Namespace) -> Ending:
    """Return how the copy is to end."""
    if parsed.finish:
        return Ending.FINISH
    if parsed.pivot or mirrors_on(parsed):
        return Ending.PIVOT
    return Ending.ASYNC


def mirrors_on(parsed: argparse.Namespace) -> bool:
    """Tell whether to return in READY with the job running: --wait or --timeout alone."""
    waits = parsed.wait or parsed.timeout is not None
    return waits and not (parsed.pivot or parsed.finish)


def _add_destination(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        'dest',
        metavar='DEST',
        nargs='?',
        help='the destination: NAME.json is a connection_info, NAME.xml is a <disk>, what begins '
        "with nbd:, rbd: or json: is QEMU's own name of it (--method qmp), everything else is a "
        'local path',
    )
    group = parser.add_argument_group('destination')
    group.add_argument('--dest', dest='dest_option', metavar='DEST', help='the same as DEST')
    group.add_argument(
        '--xml', metavar='FILE', help='a file with a top-level <disk>; - reads standard input'
    )
    group.add_argument(
        '--format',
        dest='disk_format',
        choices=('raw', 'qcow2'),
        help="<driver type=…> of a path; raw if not given, where virsh would take the source's "
        'or probe: we never probe',
    )
    group.add_argument(
        '--raw', dest='disk_format', action='store_const', const='raw', help='--format raw'
    )
    group.add_argument(
        '--blockdev',
        action='store_true',
        help="<disk type='block'>; with rebase VIR_DOMAIN_BLOCK_REBASE_COPY_DEV: the path is a "
        'block device',
    )
    group.add_argument(
        '--print-xml', action='store_true', help='print the <disk> for libvirt and do nothing'
    )


def _add_parameters(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('parameters of libvirt')
    group.add_argument(
        '--bandwidth',
        type=arguments.whole,
        metavar='NUMBER',
        help='VIR_DOMAIN_BLOCK_COPY_BANDWIDTH (bandwidth): MiB/s, or bytes/s with --bytes; 0 is '
        'unlimited',
    )
    group.add_argument(
        '--bytes',
        action='store_true',
        help='--bandwidth is in bytes/s; with rebase VIR_DOMAIN_BLOCK_REBASE_BANDWIDTH_BYTES',
    )
    group.add_argument(
        '--granularity',
        type=arguments.whole,
        metavar='BYTES',
        help='VIR_DOMAIN_BLOCK_COPY_GRANULARITY (granularity): a power of two, 512 to 67108864',
    )
    group.add_argument(
        '--buf-size',
        type=arguments.whole,
        metavar='BYTES',
        help='VIR_DOMAIN_BLOCK_COPY_BUF_SIZE (buf-size): bytes in flight',
    )


def _add_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('flags of libvirt')
    for name, flag, text in FLAGS:
        group.add_argument(f'--{name}', action='store_true', help=f'{flag}: {text}')
    group.add_argument(
        '--dest-is-zero',
        '--target-zeroed',
        dest='target_zeroed',
        action='store_true',
        help=f'VIR_DOMAIN_BLOCK_COPY_TARGET_ZEROED: {arguments.ZEROED}',
    )
    group.add_argument(
        '--reuse-external',
        action='store_true',
        help='VIR_DOMAIN_BLOCK_COPY_REUSE_EXT: the destination exists; always sent for a '
        'connection_info',
    )
    group.add_argument(
        '--transient-job',
        action=argparse.BooleanOptionalAction,
        default=True,
        help='VIR_DOMAIN_BLOCK_COPY_TRANSIENT_JOB: the job ends with the guest; always sent, '
        'unlike virsh, unless --no-transient-job is given, which transient domains only take',
    )


def _add_waiting(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('waiting')
    group.add_argument(
        '--wait', action='store_true', help='wait until both sides are the same (READY)'
    )
    group.add_argument('--verbose', action='store_true', help='with --wait, show the progress')
    group.add_argument(
        '--async',
        dest='asynchronous',
        action='store_true',
        help='with --wait, do not wait for a cancelled job to end '
        '(VIR_DOMAIN_BLOCK_JOB_ABORT_ASYNC is sent either way)',
    )
    group.add_argument(
        '--timeout',
        type=arguments.seconds,
        metavar='SECONDS',
        help='implies --wait: cancel a copy that is not ready within this time',
    )
    end = group.add_mutually_exclusive_group()
    end.add_argument(
        '--pivot',
        action='store_true',
        help='implies --wait: then VIR_DOMAIN_BLOCK_JOB_ABORT_PIVOT, the guest is switched',
    )
    end.add_argument(
        '--finish',
        action='store_true',
        help='implies --wait: then virDomainBlockJobAbort, the copy is kept',
    )
