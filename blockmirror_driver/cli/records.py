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
"""``blockmirror list``, ``show`` and ``report``: what the journal knows. No libvirt is needed."""

from __future__ import annotations

import argparse
import json
from typing import Any

from blockmirror_driver.cli import arguments, render
from blockmirror_driver.cli.base import PlainCommand, RecordCommand, TableCommand

_LIST = ('swap_id', 'domain', 'disk', 'state', 'done', 'source', 'destination', 'owner', 'updated')


class List(TableCommand):
    """List the swaps of this host, oldest first."""

    columns = _LIST

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Add --active."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--active', action='store_true', help='only swaps that have not come to an end'
        )
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """Read the journal."""
        rows: list[tuple[str, ...]] = [
            (
                row.id,
                row.domain_name,
                row.dev,
                row.state.value,
                render.percent(row),
                row.source_desc,
                row.destination_desc,
                render.owner(row.owner),
                render.moment(row.updated_at),
            )
            for row in self.app.journal.records(active_only=parsed_args.active)
        ]
        return _LIST, rows


class Show(RecordCommand):
    """Show one swap and its history."""

    columns = (*render.RECORD_COLUMNS, 'owed', 'history')

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Add the swap."""
        parser = super().get_parser(prog_name)
        arguments.add_swap_id(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[tuple[str, ...], list[Any]]:
        """Read the journal."""
        row = self.app.journal.record(parsed_args.swap)
        history = render.steps(self.app.journal.steps(row.id))
        columns = render.record(row)
        owed = render.duties(self.app.journal.duties.owed(row.id))
        if parsed_args.formatter in ('json', 'yaml'):
            columns |= {'owed': owed, 'history': history}
        else:
            columns['owed'] = '\n'.join(
                f'{one["step"]}, tried {one["attempts"]} times: {one["error"]}' for one in owed
            )
            columns['history'] = '\n'.join(
                f'{step["at"]} {step["state"]}: {step["detail"]}' for step in history
            )
        return tuple(columns), list(columns.values())


class Report(PlainCommand):
    """Write the summary of one swap, as JSON or Markdown."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Add the swap and the format."""
        parser = super().get_parser(prog_name)
        arguments.add_swap_id(parser)
        parser.add_argument(
            '-f',
            '--format',
            dest='formatter',
            choices=('json', 'md'),
            default='md',
            help='the output format, defaults to md',
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        """Read the journal."""
        row = self.app.journal.record(parsed_args.swap)
        history = self.app.journal.steps(row.id)
        if parsed_args.formatter == 'md':
            self.app.stdout.write(render.markdown(row, history))
            return 0
        summary = {**render.record(row), 'history': render.steps(history)}
        self.app.stdout.write(json.dumps(summary, indent=2) + '\n')
        return 0
