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
"""``blockmirror grow``: give a guest the rest of a larger volume."""

from __future__ import annotations

import argparse

from blockmirror_driver.cli import arguments
from blockmirror_driver.cli.base import PlainCommand
from blockmirror_driver.model import format_bytes


class Grow(PlainCommand):
    """Let a disk have all of the larger volume that it was moved to.

    For a disk that was moved with --allow-larger: the guest sees the new size at once, and after
    each start. It is done by QEMU's monitor, for which libvirt taints the domain (custom-monitor).
    libvirt's live XML goes on to show <slices> until the guest is powered off: do not migrate it
    live before.
    """

    changes = True

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Add the disk."""
        parser = super().get_parser(prog_name)
        arguments.add_domain_and_disk(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        """Grow it."""
        size = self.app.service.grow(parsed_args.domain, parsed_args.disk)
        self.app.say(f'{parsed_args.disk} has {size} bytes ({format_bytes(size)}) now')
        return 0
