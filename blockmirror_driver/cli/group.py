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
"""``blockmirror swap-group``: move several disks of a guest together."""

from __future__ import annotations

import argparse
from typing import Any

from blockmirror_driver import exception
from blockmirror_driver.cli import arguments, destination, progress, render
from blockmirror_driver.cli.base import TableCommand
from blockmirror_driver.cli.interrupts import Interrupts
from blockmirror_driver.mirror.options import CopyOptions
from blockmirror_driver.model import Seconds
from blockmirror_driver.swap.record import SwapEvent
from blockmirror_driver.swap.request import Ending, SwapRequest

_COLUMNS = ('disk', 'swap_id', 'state', 'source', 'destination', 'bytes_moved', 'pivot_seconds')


class SwapGroup(TableCommand):
    """Move several disks of a running guest: all ready before any of them is switched.

    Until then whatever goes wrong with one takes all of them back to their sources. Then the
    guest's file systems are frozen by its agent, all disks are switched at once, and the file
    systems are thawed. With --finish the destinations become copies of one moment.
    """

    columns = _COLUMNS
    changes = True

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Add the disks and what a group has of its own."""
        parser = super().get_parser(prog_name)
        parser.add_argument('domain', metavar='DOMAIN', help="the running domain's name or UUID")
        parser.add_argument(
            'disks',
            metavar='DISK=CONNECTION.json',
            nargs='+',
            help="a disk's target, and Cinder's connection_info of its destination",
        )
        keys = parser.add_argument_group('encrypted destinations', 'may be given again')
        keys.add_argument(
            '--key-file',
            metavar='DISK=PATH',
            action='append',
            default=[],
            help='the destination of this disk is encrypted with LUKS, and this file is its '
            'passphrase, to the last byte',
        )
        keys.add_argument(
            '--key-id',
            metavar='DISK=UUID',
            action='append',
            default=[],
            help='the same, and the key manager of the configuration has its key under this id',
        )
        group = parser.add_argument_group('the end of the group')
        group.add_argument(
            '--finish',
            action='store_true',
            help='let go of the destinations, which stay as copies of one moment; the guest stays',
        )
        group.add_argument(
            '--quiesce',
            dest='freeze',
            choices=('auto', 'always', 'never'),
            default='auto',
            help="freeze the file systems for the switch by the guest's agent: if it can (auto), "
            'or go back if it can not (always)',
        )
        group.add_argument(
            '--quiesce-timeout',
            type=arguments.seconds,
            metavar='SECONDS',
            default=10.0,
            help='how long freezing may take, and how long they stay frozen (default: 10)',
        )
        arguments.add_copy_options(parser)
        arguments.add_events(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[tuple[str, ...], list[Any]]:
        """Run the group."""
        # Late: --help needs no libvirt.
        from blockmirror_driver.swap.group import Group, Wishes

        requests = self._requests(parsed_args)
        group = Group([self.app.service.another() for _ in requests])
        wishes = Wishes(parsed_args.freeze, Seconds(parsed_args.quiesce_timeout))
        with progress.opened(self.app, parsed_args, display=False) as sinks:

            def observe(dev: str, event: SwapEvent) -> None:
                sinks(event)
                if event.event == 'state':
                    self.app.say(f'{dev}: {event.detail or event.state.value}')

            with Interrupts(group).installed():
                result = group.run(requests, wishes, observe)
        self.silent = progress.takes_stdout(parsed_args)
        self.exit_code = max(one.exit_code for one in result.outcomes)
        frozen = f', {result.frozen} file systems frozen' if result.frozen else ', not quiesced'
        self.app.say(f'all ended within {result.window:.3f} s{frozen}')
        rows = [render.outcome(one) for one in result.outcomes]
        return _COLUMNS, [tuple(row[name] for name in _COLUMNS) for row in rows]

    def _requests(self, parsed: argparse.Namespace) -> list[SwapRequest]:
        options = CopyOptions.from_conf(self.app.conf, **arguments.copy_options(parsed))
        ending = Ending.FINISH if parsed.finish else Ending.PIVOT
        disks = [_pair(text, 'its destination', 'vda=connection.json') for text in parsed.disks]
        files = _keys(parsed.key_file, disks, 'vda=passphrase')
        ids = _keys(parsed.key_id, disks, 'vda=UUID')
        for dev in files.keys() & ids.keys():
            raise exception.UsageError(f'two keys are given for {dev}')
        requests = []
        for dev, path in disks:
            disk = destination.from_connection_info(
                path,
                dev,
                self.app.conf,
                self.app.stdin,
                key_file=files.get(dev),
                key_id=ids.get(dev),
            )
            requests.append(SwapRequest(parsed.domain, dev, disk, options, ending=ending))
        return requests


def _pair(text: str, what: str, example: str) -> tuple[str, str]:
    dev, found, value = text.partition('=')
    if not (dev and found and value):
        raise exception.UsageError(
            f'not a disk and {what}: {text[:60]!r}', hint=f'for example {example}'
        )
    return dev, value


def _keys(given: list[str], disks: list[tuple[str, str]], example: str) -> dict[str, str]:
    """Return what was given for each disk."""
    found: dict[str, str] = {}
    for text in given:
        dev, value = _pair(text, 'its key', example)
        if dev not in dict(disks):
            raise exception.UsageError(f'a key is given for {dev}, which is not in the group')
        if dev in found:
            raise exception.UsageError(f'two keys are given for {dev}')
        found[dev] = value
    return found
