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
"""``blockmirror qemu-jobs`` and ``qemu-job``: block jobs that libvirt knows nothing of."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from blockmirror_driver.cli import arguments
from blockmirror_driver.cli.app import BlockmirrorApp
from blockmirror_driver.cli.base import PlainCommand, TableCommand
from blockmirror_driver.model import BytesPerSecond, format_bytes

if TYPE_CHECKING:
    from blockmirror_driver.swap.qemu_jobs import OrphanJobs

_COLUMNS = ('job', 'owner', 'type', 'status', 'ready', 'copied', 'of', 'limit', 'error')


class QemuJobs(TableCommand):
    """List the block jobs that a guest's QEMU has, and who knows of them.

    libvirt tells of the jobs that it began. QEMU itself is asked here, so that a copy behind
    libvirt is seen too whose tool has died; "nobody" is its owner then, and "qemu-job" ends it.
    libvirt taints the domain (custom-monitor) for that.
    """

    columns = _COLUMNS

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Add the domain and the monitor."""
        parser = super().get_parser(prog_name)
        arguments.add_domain(parser)
        _add_monitor(parser)
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """Ask QEMU."""
        rows: list[tuple[str, ...]] = []
        for owned in _of(self.app, parsed_args).owned():
            job = owned.job
            ready = {True: 'yes', False: 'no', None: 'not told'}[job.ready]
            limit = f'{format_bytes(job.speed)}/s' if job.speed else 'none'
            rows.append(
                (
                    job.id,
                    owned.owner,
                    job.type,
                    job.status or 'not told',
                    ready,
                    str(job.offset),
                    str(job.length),
                    limit,
                    job.error,
                )
            )
        return _COLUMNS, rows


class QemuJob(PlainCommand):
    """Limit or end a block job that neither libvirt nor a swap knows of.

    The guest stays on the volume that it is on. A mirror that is ready leaves a consistent copy
    when it is ended; nothing is ever pivoted. What belongs to libvirt or to a swap is refused.
    """

    changes = True

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Add the job and what to do with it."""
        parser = super().get_parser(prog_name)
        arguments.add_domain(parser)
        parser.add_argument('job', metavar='JOB', help='its name, as "qemu-jobs" lists it')
        action = parser.add_mutually_exclusive_group(required=True)
        action.add_argument('--cancel', action='store_true', help='end it, and wait for that')
        action.add_argument(
            '--speed',
            type=arguments.quantity,
            metavar='SIZE',
            help='limit it, bytes per second, for example 100MiB; 0 lifts the limit',
        )
        _add_monitor(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        """Ask QEMU, and wait for the end."""
        jobs = _of(self.app, parsed_args)
        if parsed_args.cancel:
            jobs.cancel(parsed_args.job)
            self.app.say(f'block job {parsed_args.job} has ended; the guest stays where it is')
        else:
            jobs.set_speed(parsed_args.job, BytesPerSecond(parsed_args.speed))
            self.app.say(f'block job {parsed_args.job}: limited to {parsed_args.speed} bytes/s')
        return 0


def _add_monitor(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--monitor',
        choices=('qmp', 'hmp'),
        default='qmp',
        help="QEMU's monitor to ask: the one for programs, or the one for people, which tells "
        'less (default: qmp)',
    )


def _of(app: BlockmirrorApp, parsed: argparse.Namespace) -> OrphanJobs:
    from blockmirror_driver.swap.qemu_jobs import OrphanJobs

    return OrphanJobs(
        app.service.hypervisor.domain(parsed.domain),
        app.journal.records(active_only=True),
        monitor=parsed.monitor,
        patience=app.conf.blockmirror.abort_timeout,
    )
