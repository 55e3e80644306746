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
"""Global options, the configuration that they lead to, and logging.

What is set later wins: the files' defaults (``~/.blockmirror``, ``/etc/blockmirror``), each
``--config-file`` and ``--config-dir``, the environment (oslo.config's
``OS_BLOCKMIRROR__<OPTION>``), the global options.
"""

from __future__ import annotations

import argparse
import logging

from cliff.app import App
from oslo_config import cfg

from blockmirror_driver import conf as our_conf
from blockmirror_driver import exception
from blockmirror_driver.cli.help import QuickHelp


def add_global_options(parser: argparse.ArgumentParser, *, help_for: App) -> None:
    """Add the options that every command takes."""
    parser.add_argument(
        '-h',
        '--help',
        action=QuickHelp,
        nargs=0,
        default=help_for,
        help='show the commands and exit',
    )
    amount = parser.add_mutually_exclusive_group()
    amount.add_argument(
        '-v', action='count', dest='verbosity', default=0, help='log what is done, on stderr'
    )
    amount.add_argument(
        '-q', '--quiet', action='store_true', help='show no progress, only results and errors'
    )
    parser.add_argument(
        '--debug', action='store_true', help='log everything, and show tracebacks of errors'
    )
    parser.add_argument(
        '--config-file',
        action='append',
        default=[],
        metavar='PATH',
        help='a configuration file; may be repeated, the last wins (default: blockmirror.conf in '
        'the usual places)',
    )
    parser.add_argument(
        '--config-dir',
        action='append',
        default=[],
        metavar='PATH',
        help='a directory of .conf files, read after the files',
    )
    parser.add_argument(
        '--journal', metavar='PATH', help='the journal (option journal_path of the configuration)'
    )
    parser.add_argument(
        '--connect',
        metavar='URI',
        help='the libvirt connection (option connection_uri of the configuration)',
    )


def load(options: argparse.Namespace) -> cfg.ConfigOpts:
    """Read the configuration that the global options name.

    :raise UsageError: for a file that is missing or can't be parsed.
    """
    # The process's own one: oslo.concurrency reads no other. It may have been loaded before.
    conf = our_conf.CONF
    conf.reset()
    _register_log_options(conf)
    arguments = [f'--config-file={path}' for path in options.config_file]
    arguments += [f'--config-dir={path}' for path in options.config_dir]
    try:
        conf(arguments, project='blockmirror')
        if options.journal is not None:
            conf.set_override('journal_path', options.journal, our_conf.GROUP)
        if options.connect is not None:
            conf.set_override('connection_uri', options.connect, our_conf.GROUP)
        for opt in (opt for module in our_conf.MODULES for opt in module.OPTS):
            # Values are parsed when they are read: a bad one is to be found now.
            getattr(conf[our_conf.GROUP], opt.dest)
    except (cfg.Error, ValueError) as error:
        raise exception.UsageError(
            f'configuration: {error}', hint='compare with the sample of blockmirror.conf'
        ) from error
    return conf


def set_up_logging(conf: cfg.ConfigOpts, options: argparse.Namespace) -> None:
    """Log to stderr: warnings, with ``-v`` what is done, with ``--debug`` everything."""
    # Late: it is a quarter of the time that the command needs to start.
    from oslo_log import log

    if options.debug:
        conf.set_override('debug', True)
    # stdout is for results.
    conf.set_override('use_stderr', True)
    log.setup(conf, 'blockmirror')
    if not conf.debug:
        logging.getLogger().setLevel(logging.INFO if options.verbosity else logging.WARNING)


def _register_log_options(conf: cfg.ConfigOpts) -> None:
    # Late for the same reason.
    from oslo_log import log

    log.register_options(conf)
