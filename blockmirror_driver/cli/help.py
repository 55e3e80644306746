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
"""``blockmirror --help``, as quick as its reader expects.

cliff's own makes an object of each command, and with it the formatters of every output format,
and reads the metadata of all installed packages to say where a command comes from.
"""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Sequence
from typing import Any

from cliff.help import HelpAction, HelpExit


class QuickHelp(HelpAction):
    """Print the options and a line per command, from the commands' docstrings."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Print it and end the process.

        :raise HelpExit: always.
        """
        app = self.default
        lines = [parser.format_help(), 'Commands:']
        for name, entry_point in sorted(app.command_manager):
            text = inspect.getdoc(entry_point.load()) or ''
            lines.append(f'  {name:<13}  {text.partition(chr(10))[0].rstrip(".")}')
        app.stdout.write('\n'.join(lines) + '\n')
        raise HelpExit
