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
"""Runs Tempest on a cloud that is up: ``python -m tests.tempest [--name CLOUD] [REGEX]``.

Without a regular expression it runs the project's scenarios and those of Tempest's own tests that
a volume of a running server matters to. Tempest counts at the end, and tells what was skipped.

Exit status: 0 when at least one test ran and none failed.
"""

import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence

from tests.cloud.environment import SERVICES, TEMPEST
from tests.cloud.site import Site
from tests.lab.layout import LabError, Layout
from tests.lab.namespace import REPOSITORY
from tests.lab.process import run

_REQUIREMENTS = 'tests/tempest/requirements.txt'
#: What a build reads beside the package.
_PROJECT = ('pyproject.toml', 'setup.cfg', 'setup.py', 'README.rst', 'LICENSE')
_OURS = r'blockmirror_driver\.tempest_plugin'
#: Volumes of servers, and retype and migration.
_THEIRS = (
    r'tempest\.api\.compute\.volumes',
    r'tempest\.api\.compute\.admin\.test_volume_swap',
    r'tempest\.api\.compute\.admin\.test_volumes_negative',
    r'tempest\.api\.volume\.admin\.test_volume_retype',
)
#: Where Tempest's own loader of all tests is.
_DISCOVER = 'import tempest.test_discover as found; print(found.__path__[0])'
_ALL = '|'.join((_OURS, *_THEIRS))


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(prog='python -m tests.tempest', description=__doc__)
    given = os.environ.get('BLOCKMIRROR_LAB_NAME', 'cloud')
    parser.add_argument('--name', default=given, help='name of the cloud (%(default)s)')
    parser.add_argument('regex', nargs='?', default=_ALL, help='of the tests to run')
    options = parser.parse_args(arguments)
    try:
        _install()
        return _run(options.name, options.regex)
    except LabError as exc:
        print(f'tempest: {exc}', file=sys.stderr)
        return 1


def _install() -> None:
    """Make the virtualenv, with the project as it stands in the tree.

    The project is built from a copy: what a build leaves behind would get into the next one,
    which may be going on at this moment for the services.

    :raise LabError: pip failed
    """
    TEMPEST.make()
    TEMPEST.pip('--no-deps', '-r', str(REPOSITORY / _REQUIREMENTS))
    # Without git's data pbr is told the version.
    os.environ.setdefault('PBR_VERSION', '0.0.1')
    with tempfile.TemporaryDirectory() as name:
        copy = pathlib.Path(name) / 'project'
        copy.mkdir()
        for one in _PROJECT:
            shutil.copy(REPOSITORY / one, copy)
        package = REPOSITORY / 'blockmirror_driver'
        skip = shutil.ignore_patterns('__pycache__')
        shutil.copytree(package, copy / package.name, ignore=skip)
        TEMPEST.pip('--no-deps', '--no-build-isolation', '--force-reinstall', str(copy))


def _run(name: str, regex: str) -> int:
    site = Site(Layout.of(name))
    work = site.root / 'tempest'
    environment = {'TEMPEST_CONFIG_DIR': str(work / 'etc'), 'TEMPEST_CONFIG': 'tempest.conf'}
    cloud = [sys.executable, '-m', 'tests.cloud', '--name', name, 'run', '--']
    prepare = [str(SERVICES.python), '-W', 'ignore', '-m', 'tests.tempest.settings']
    work.mkdir(mode=0o700, exist_ok=True)
    for folder in ('etc', 'locks'):
        (work / folder).mkdir(exist_ok=True)
    # Not "tempest init": it keeps a list of such directories in the user's home.
    discover = run([str(TEMPEST.python), '-c', _DISCOVER]).strip()
    (work / '.stestr.conf').write_text(
        f'[DEFAULT]\ntest_path={discover}\ntop_dir={pathlib.Path(discover).parent}\n'
        'group_regex=([^\\.]*\\.)*\n'
    )
    if _call([*cloud, *prepare, str(work / 'etc' / 'tempest.conf')]):
        raise LabError('tempest', f'no configuration; is the cloud {name!r} up?')
    given = [f'{key}={value}' for key, value in environment.items()]
    # One worker: the machine has two cores, and a guest runs under emulation.
    argv = [str(TEMPEST.bin / 'tempest'), 'run', '--serial', '--regex', regex]
    # The tree's own metadata would hide those of the installed project.
    shell = ['env', '--unset=PYTHONPATH', f'--chdir={work}', *given]
    return _call([*cloud, *shell, *argv])


def _call(argv: Sequence[str]) -> int:
    return subprocess.run(argv, cwd=REPOSITORY, check=False).returncode


if __name__ == '__main__':
    sys.exit(main())
