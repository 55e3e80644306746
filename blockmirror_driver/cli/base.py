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
"""What the commands share."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from cliff.command import Command
from cliff.display import DisplayCommandBase
from cliff.lister import Lister
from cliff.show import ShowOne

from blockmirror_driver import exception
from blockmirror_driver.cli.app import BlockmirrorApp

if TYPE_CHECKING:
    from blockmirror_driver.swap.checks import Check

    _Display = DisplayCommandBase[Any]
else:
    # Older releases of cliff are not generic.
    _Display = DisplayCommandBase


class Ours:
    """A command of ours: it has the configuration, and knows whether it changes anything."""

    needs_conf: ClassVar[bool] = True
    #: Whether an internal error leaves the state of a swap unknown.
    changes: ClassVar[bool] = False

    def get_epilog(self) -> str:
        """Return nothing.

        cliff names the package that a plugin's command comes from, and reads the metadata of
        every installed package for that, which takes 0.1 s. Ours come with the application.
        """
        return ''


class PlainCommand(Ours, Command):
    """A command that writes its own output."""

    app: BlockmirrorApp


class Shown(Ours, _Display):
    """What a command with cliff's formatters has in common: an exit code of its own.

    ``silent`` suppresses the output, for commands whose stdout is used otherwise.
    ``columns`` are all that it may have.
    """

    app: BlockmirrorApp
    columns: ClassVar[tuple[str, ...]]
    exit_code = 0
    silent = False

    def run(self, parsed_args: argparse.Namespace) -> int:
        """Run it; what it made is shown whatever the exit code is.

        :raise UsageError: there is no such column. cliff says so after the command has run.
        """
        parsed_args.columns = [self._column(name) for name in parsed_args.columns]
        try:
            super().run(parsed_args)
        except BrokenPipeError:
            # Of a command that changed something the exit code counts more.
            if not self.changes:
                raise
        return self.exit_code

    def _column(self, name: str) -> str:
        """Return a column that was asked for by its name or by its title."""
        found = name.strip().lower().replace(' ', '_')
        if found not in self.columns:
            known = ', '.join(self.columns)
            raise exception.UsageError(f'no such column: {name[:40]!r}', hint=f'one of {known}')
        return found


class TableCommand(Shown, Lister):
    """A command that lists rows."""

    def produce_output(
        self,
        parsed_args: argparse.Namespace,
        column_names: Sequence[str],
        data: Iterable[Sequence[Any]],
    ) -> int:
        """Show the rows, unless the command is silent."""
        if self.silent:
            return 0
        return super().produce_output(parsed_args, column_names, data)


class RecordCommand(Shown, ShowOne):
    """A command that shows one thing."""

    def produce_output(
        self,
        parsed_args: argparse.Namespace,
        column_names: Sequence[str],
        data: Sequence[Any],
    ) -> int:
        """Show the result, unless the command is silent."""
        if self.silent:
            return 0
        return super().produce_output(parsed_args, column_names, data)


CHECK_COLUMNS = ('check', 'result', 'detail', 'fix')


def check_rows(checks: Sequence[Check]) -> list[tuple[str, str, str, str]]:
    """Return the rows of a list of checks; a check that could not tell is a warning."""
    words = {True: 'pass', False: 'fail', None: 'warning'}
    return [(c.id, words[c.passed], c.detail, c.fix) for c in checks]
