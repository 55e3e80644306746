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
"""The application: global options, configuration, logging, and how an error becomes an exit.

Every error ends as one line on stderr and as the exit code of its class; a traceback is shown
with ``--debug`` only.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import gc
import importlib.metadata
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn, TextIO

from cliff.app import App
from cliff.command import Command
from cliff.commandmanager import CommandManager
from cliff.help import HelpExit

from blockmirror_driver import exception
from blockmirror_driver.cli import settings

if TYPE_CHECKING:
    from oslo_config import cfg

    # Commands that work offline must not pay for libvirt and sqlite3.
    from blockmirror_driver.swap.journal import Journal
    from blockmirror_driver.swap.service import SwapService

LOG = logging.getLogger(__name__)

#: The entry points that the commands are registered under.
NAMESPACE = 'blockmirror.cli'

DESCRIPTION = 'Move the block volume of a running guest between storage backends.'


def _open_service(conf: cfg.ConfigOpts, *, read_only: bool) -> SwapService:
    # Late, so that `blockmirror xml` works without libvirt.
    from blockmirror_driver.swap.service import SwapService

    return SwapService.from_conf(conf, read_only=read_only)


def _collect_from_here_on() -> None:
    """Turn the collector on (see ``main``): what follows may take hours, what is there stays."""
    gc.freeze()
    gc.enable()


class Commands(CommandManager):
    """The commands, by their entry points; only the one that runs is imported."""

    def load_commands(self, namespace: str) -> None:
        """Note the entry points of a namespace.

        Unlike cliff's, which imports all of them and drops those that fail to import.
        """
        self.group_list.append(namespace)
        for entry_point in importlib.metadata.entry_points(group=namespace):
            self.commands[entry_point.name.replace('_', ' ')] = entry_point


class BlockmirrorApp(App):
    """One run of the command.

    :param open_service: makes the service from the configuration; tests give a fake.
    """

    NAME = 'blockmirror'

    def __init__(
        self,
        *,
        stdin: TextIO | None = None,
        stdout: TextIO | None = None,
        stderr: TextIO | None = None,
        open_service: Callable[..., SwapService] = _open_service,
    ) -> None:
        super().__init__(
            DESCRIPTION,
            _version(),
            Commands(NAMESPACE),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
        )
        self._open_service = open_service
        self._conf: cfg.ConfigOpts | None = None
        self._service: SwapService | None = None
        self._journal: Journal | None = None
        #: Whether the command that runs may have changed something.
        self.changes = False
        #: Whether it needs no more of libvirt than to look; set before the service is made.
        self.read_only = False

    @property
    def conf(self) -> cfg.ConfigOpts:
        """The configuration: files, then the environment, then the global options."""
        if self._conf is None:
            self._conf = settings.load(self.options)
        return self._conf

    @property
    def service(self) -> SwapService:
        """The service of this process, made at the first use."""
        if self._service is None:
            self._service = self._open_service(self.conf, read_only=self.read_only)
            _collect_from_here_on()
        return self._service

    @property
    def journal(self) -> Journal:
        """The journal, for commands that only read it and so need no libvirt."""
        if self._journal is None:
            # Late for the same reason as the service.
            from blockmirror_driver.swap.journal import Journal

            self._journal = Journal(self.conf.blockmirror.journal_path)
            _collect_from_here_on()
        return self._journal

    def build_option_parser(
        self,
        description: str | None,
        version: str | None,
        argparse_kwargs: dict[str, object] | None = None,
    ) -> argparse.ArgumentParser:
        """Return the parser of the global options.

        cliff lets it read the whole command line, so that a global option may also stand
        after the command. Hence no abbreviations, and no ``--verbose``: ``copy`` has one.
        """
        # cliff's own -v has the long form --verbose and its --log-file is oslo.log's task:
        # what it would build is not used.
        parser = argparse.ArgumentParser(
            prog=self.NAME, description=description, add_help=False, allow_abbrev=False
        )
        _refuse_in_one_line(parser)
        parser.add_argument('--version', action='version', version=f'{self.NAME} {version}')
        settings.add_global_options(parser, help_for=self)
        return parser

    def configure_logging(self) -> None:
        """Leave logging alone until the command runs: it needs the configuration."""

    def prepare_to_run_command(self, cmd: Command) -> None:
        """Set logging up, before a command of ours runs."""
        if getattr(cmd, 'needs_conf', False):
            settings.set_up_logging(self.conf, self.options)

    def run(self, argv: list[str]) -> int:
        """Run one command and return its exit code.

        :raise SystemExit: by ``--help`` and ``--version``.
        :raise BrokenPipeError: when the reader of stdout is gone.
        :raise KeyboardInterrupt: by ^C in a command that changes nothing.
        """
        try:
            self.options, remainder = self.parser.parse_known_args(argv)
            if not remainder:
                raise exception.UsageError('a command is needed')
            return self.run_subcommand(remainder)
        except exception.BlockmirrorError as error:
            return self.fail(error)
        except BrokenPipeError:
            raise
        except Exception as error:  # noqa: BLE001 - no traceback may reach a user
            return self.fail(_internal(error, changes=self.changes))
        finally:
            self.close()

    def run_subcommand(self, argv: list[str]) -> int:
        """Find the command, parse its arguments and run it; see :meth:`run`."""
        try:
            factory, name, arguments = self.command_manager.find_command(argv)
        except ValueError as error:
            raise exception.UsageError(f'unknown command: {argv[0][:40]!r}') from error
        command = factory(self, self.options, name)
        parser = command.get_parser(f'{self.NAME} {name}')
        _refuse_in_one_line(parser)
        # Intermixed: an optional positional may stand after options, as virsh allows.
        parsed = parser.parse_intermixed_args(arguments)
        self.prepare_to_run_command(command)
        self.changes = getattr(command, 'changes', False)
        try:
            return command.run(parsed)
        except HelpExit:
            return 0

    def fail(self, error: exception.BlockmirrorError) -> int:
        """Show an error as one line and return its exit code."""
        if self._debug:
            LOG.error('the error came from here', exc_info=error)
        self._tell(describe(error))
        return error.exit_code

    def say(self, text: str, *, important: bool = False) -> None:
        """Tell the operator something on stderr; quiet runs show what is important only."""
        if important or not self.options.quiet:
            self._tell(f'{self.NAME}: {exception.one_line(text)}')

    def _tell(self, line: str) -> None:
        # A terminal that is gone must not change the exit code.
        with contextlib.suppress(OSError):
            self.stderr.write(line + '\n')
            self.stderr.flush()

    def close(self) -> None:
        """Close what was opened."""
        if self._service is not None:
            self._service.close()
        if self._journal is not None:
            self._journal.close()
        self._service = self._journal = None

    @property
    def _debug(self) -> bool:
        options = getattr(self, 'options', None)
        return bool(options and options.debug)


def describe(error: exception.BlockmirrorError) -> str:
    """Return the one line that an error is shown as."""
    swap_id = getattr(error, 'swap_id', None)
    swap = f' [swap {swap_id}]' if swap_id else ''
    hint = f' (hint: {error.hint})' if error.hint else ''
    return f'{BlockmirrorApp.NAME}: error: {error.message}{swap}{hint}'


def _internal(error: Exception, *, changes: bool) -> exception.BlockmirrorError:
    """Wrap a defect of ours: 7 when the command may have changed something, else 3."""
    # The text of a foreign exception may quote anything, so only its kind is shown.
    message = f'internal error: {type(error).__name__}'
    wrapped: exception.BlockmirrorError
    if changes:
        wrapped = exception.StateUnknown(
            message, hint='blockmirror list shows the swap, blockmirror recover takes it up'
        )
    else:
        wrapped = exception.Refused(message, hint='run again with --debug and report it')
    wrapped.__cause__ = error
    return wrapped


def _refuse_in_one_line(parser: argparse.ArgumentParser) -> None:
    """Make a parser raise instead of printing its usage over several lines."""
    parser.allow_abbrev = False
    parser.error = functools.partial(_usage_error, parser.prog)  # type: ignore[method-assign]


def _usage_error(prog: str, message: str) -> NoReturn:
    _, _, command = prog.partition(' ')
    raise exception.UsageError(message, hint=f'see blockmirror help {command}'.rstrip())


def _version() -> str:
    try:
        return importlib.metadata.version('blockmirror-driver')
    except importlib.metadata.PackageNotFoundError:
        return 'unknown'
