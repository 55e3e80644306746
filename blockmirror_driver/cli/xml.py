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
"""``blockmirror xml``: a connection_info as libvirt's ``<disk>``, offline."""

from __future__ import annotations

import argparse

from blockmirror_driver.cli import arguments, destination
from blockmirror_driver.cli.base import PlainCommand
from blockmirror_driver.cli.render import pretty


class Xml(PlainCommand):
    """Print the <disk> that a connection_info becomes.

    Secrets appear only as references. Neither libvirt nor the storage is asked. Remarks (an
    option that is ignored, a portal that was chosen) go to stderr.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Add the file and the target."""
        parser = super().get_parser(prog_name)
        arguments.add_connection_info(parser)
        parser.add_argument(
            '--target', default='vda', metavar='DEV', help='the target of the disk (default: vda)'
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        """Print it."""
        disk = destination.from_arguments(parsed_args, parsed_args.target, self.app)
        text = pretty(disk)
        encoding = self.app.stdout.encoding or 'utf-8'
        # What the terminal can't show is still the same XML as a character reference.
        self.app.stdout.write(text.encode(encoding, 'xmlcharrefreplace').decode(encoding))
        for note in disk.notes:
            self.app.say(f'note: {note}')
        return 0
