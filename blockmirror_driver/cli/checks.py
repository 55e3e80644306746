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
"""``blockmirror plan`` and ``doctor``: checks, each with result, reason and fix."""

from __future__ import annotations

import argparse

from blockmirror_driver import exception
from blockmirror_driver.cli import arguments, destination
from blockmirror_driver.cli.base import CHECK_COLUMNS, TableCommand, check_rows

Rows = tuple[tuple[str, ...], list[tuple[str, str, str, str]]]


class Plan(TableCommand):
    """Check whether a swap would be accepted; change nothing on the guest.

    Exit code 3 when any check fails. A warning is a check that could not tell.
    """

    columns = CHECK_COLUMNS

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Add what swap takes."""
        parser = super().get_parser(prog_name)
        arguments.add_domain_and_disk(parser)
        arguments.add_connection_info(parser)
        arguments.add_copy_options(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Rows:
        """Plan, and list the checks."""
        # Late: only here is libvirt needed.
        from blockmirror_driver.mirror.options import CopyOptions
        from blockmirror_driver.swap.request import SwapRequest

        options = CopyOptions.from_conf(self.app.conf, **arguments.copy_options(parsed_args))
        disk = destination.from_arguments(parsed_args, parsed_args.disk, self.app)
        for note in disk.notes:
            self.app.say(f'note: {note}')
        plan = self.app.service.plan(
            SwapRequest(parsed_args.domain, parsed_args.disk, disk, options)
        )
        self.exit_code = 0 if plan.ok else exception.Refused.exit_code
        return CHECK_COLUMNS, check_rows(plan.checks)


class Doctor(TableCommand):
    """Check this host: libvirt, QEMU's block modules, the journal, Nova, what was left behind.

    Exit code 3 when any check fails.
    """

    columns = CHECK_COLUMNS

    def take_action(self, parsed_args: argparse.Namespace) -> Rows:
        """Examine the host, and list the checks."""
        self.app.read_only = True
        # Late: it needs what only this command needs.
        from blockmirror_driver.nova import install

        checks = (*self.app.service.doctor(), *install.examine())
        failed = any(check.passed is False for check in checks)
        self.exit_code = exception.Refused.exit_code if failed else 0
        return CHECK_COLUMNS, check_rows(checks)
