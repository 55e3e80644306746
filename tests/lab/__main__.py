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
"""The command line: ``python -m tests.lab up|down|status|run -- COMMAND``."""

import argparse
import contextlib
import fcntl
import os
import pathlib
import shutil
import sys
import time
from collections.abc import Iterator, Sequence

from tests.lab import teardown
from tests.lab.image import build
from tests.lab.lab import VARIABLE, Lab
from tests.lab.layout import DEFAULT_NAME, LabError, Layout
from tests.lab.libvirtd import URI
from tests.lab.namespace import REPOSITORY, Namespace


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; the exit code is 0, 1 for a lab that failed, or that of the command run."""
    options = _parser().parse_args(arguments)
    try:
        layout = Layout.of(options.name)
        namespace = Namespace(layout)
        if options.action == 'run':
            return _run(namespace, layout, options.command)
        if options.action == 'down':
            with _lock(layout):
                teardown.down(layout, namespace, keep=options.keep)
            return 0
        if options.action == 'up' and not namespace.inside():
            with _lock(layout):
                layout.make()
                if namespace.holder is None:
                    teardown.down(layout, namespace, keep=True)  # what outlived its holder
                namespace.open()
                build.install(layout.guests)  # out here, where there is a network
                return _inside(namespace, layout, ['up'])
        if not namespace.inside():
            return _inside(namespace, layout, [options.action]) if namespace.holder else _gone()
        return _up(layout) if options.action == 'up' else _status(layout)
    except LabError as exc:
        print(f'lab: {exc}', file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='python -m tests.lab', description=__doc__)
    parser.add_argument(
        '--name',
        default=os.environ.get('BLOCKMIRROR_LAB_NAME', DEFAULT_NAME),
        help='name of the lab; labs with different names run side by side (%(default)s)',
    )
    actions = parser.add_subparsers(dest='action', required=True)
    actions.add_parser('up', help='start what does not run yet')
    down = actions.add_parser('down', help='stop everything and remove it')
    down.add_argument('--keep', action='store_true', help='keep the data for the next "up"')
    actions.add_parser('status', help='a line for each part; exit code 0 if all are up')
    run = actions.add_parser('run', help='run a command inside the lab')
    run.add_argument('command', nargs=argparse.REMAINDER, help='-- COMMAND [ARGUMENT...]')
    return parser


@contextlib.contextmanager
def _lock(layout: Layout) -> Iterator[None]:
    """One "up" or "down" of a lab at a time; the file stays, as removing it would be a race."""
    layout.root.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
    with (layout.root.parent / f'.{layout.name}.lock').open('w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _environment(layout: Layout) -> dict[str, str]:
    return {
        **os.environ,
        VARIABLE: str(layout.root),
        'BLOCKMIRROR_LAB_NAME': layout.name,
        'BLOCKMIRROR_LAB_ROOT': str(layout.root.parent),
        'LIBVIRT_DEFAULT_URI': URI,
    }


def _inside(namespace: Namespace, layout: Layout, words: Sequence[str]) -> int:
    """Run this same command line inside the lab, and wait for it."""
    argv = [sys.executable, '-m', 'tests.lab', '--name', layout.name, *words]
    entered = namespace.command(argv, REPOSITORY)
    return os.spawnvpe(os.P_WAIT, entered[0], entered, _environment(layout))


def _run(namespace: Namespace, layout: Layout, command: Sequence[str]) -> int:
    """Become the command; returns only if there is none."""
    argv = list(command[1:] if command[:1] == ['--'] else command)
    if not argv:
        raise LabError('run', 'no command given')
    if not namespace.inside():
        argv = namespace.command(argv, pathlib.Path.cwd())
    if shutil.which(argv[0]) is None:
        raise LabError('run', f'{argv[0]}: command not found')
    sys.stdout.flush()
    os.execvpe(argv[0], argv, _environment(layout))


def _up(layout: Layout) -> int:
    begun = time.monotonic()
    Lab(layout).up()
    print(f'lab {layout.name}: up after {time.monotonic() - begun:.1f} s in {layout.root}')
    return 0


def _status(layout: Layout) -> int:
    status = {'namespaces': 'up', **Lab(layout).status()}
    for name, word in status.items():
        print(f'{name}: {word}')
    return 0 if set(status.values()) == {'up'} else 1


def _gone() -> int:
    print('namespaces: down')
    return 1


if __name__ == '__main__':
    sys.exit(main())
