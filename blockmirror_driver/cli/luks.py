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
"""``blockmirror format-luks``: make a volume one that a disk can be encrypted on."""

from __future__ import annotations

import argparse

from blockmirror_driver import exception
from blockmirror_driver.cli import arguments, destination
from blockmirror_driver.cli.base import PlainCommand
from blockmirror_driver.model import Seconds

#: Seconds for each of QEMU's tools, which read and write two MiB.
_TIMEOUT = Seconds(60.0)


class FormatLuks(PlainCommand):
    """Write a LUKS header onto a volume that no guest has.

    Afterwards a guest sees as many bytes less of it as are told. A volume that holds something
    where the header goes is refused, and so is one that a guest of this host has; of other
    hosts nothing is known. An rbd volume is opened with the keyring of its user on this host,
    unless the connection_info brings one.
    """

    changes = True

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Add the volume and its key."""
        parser = super().get_parser(prog_name)
        arguments.add_connection_info(parser)
        parser.add_argument(
            '--force', action='store_true', help='write the header over whatever is there'
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        """Format it."""
        # Late: --help needs neither libvirt nor QEMU's tools.
        from blockmirror_driver.qemu import luks
        from blockmirror_driver.qemu.tool import Limits
        from blockmirror_driver.swap import checks

        if parsed_args.key_file is None and parsed_args.key_id is None:
            raise exception.UsageError('a key is needed', hint='give --key-file or --key-id')
        disk = destination.from_arguments(parsed_args, 'vda', self.app)
        if disk.driver.format != 'raw':
            raise exception.UnsupportedVolume(
                f'a {disk.driver.format} image is encrypted when it is made',
                hint='qemu-img create -f qcow2 -o encrypt.format=luks,encrypt.key-secret=...',
            )
        used = checks.in_use(self.app.service.hypervisor, disk.source)
        if used.passed is False or (used.passed is None and not parsed_args.force):
            raise exception.DestinationUnusable(used.detail, hint='nothing was written')
        key = disk.secrets[-1].value
        length = luks.format_volume(disk, key, Limits(_TIMEOUT), force=parsed_args.force)
        self.app.say(
            f'{disk.source.describe()} is formatted: the first {length} bytes are the header'
        )
        return 0
