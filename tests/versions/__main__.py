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
"""Runs the functional tests on other Debian suites: ``python -m tests.versions trixie``.

For each suite: what libvirt, QEMU and Python it has, then the functional tests there. The last
line is ``N passed, N failed``, over all suites; a suite that can't be made is a failure.
"""

import argparse
import sys
from collections.abc import Sequence

from tests.lab.layout import LabError
from tests.run import Count, closing, count, verdict
from tests.versions.root import TREE, Root

#: The suites that doc/source/reference/compatibility.rst tells of.
SUITES = ('trixie',)
_VERSIONS = 'libvirtd --version; qemu-system-x86_64 --version | head -n 1; python3 --version'
#: In the tree there.
_TESTS = ('.venv/bin/python', '-m', 'tests.run', 'thorough')


def test(root: Root, extra: Sequence[str]) -> Count:
    """Run the functional tests in one suite and count them."""
    try:
        root.make()
        root.put()
    except LabError as error:
        print(f'versions: {error}', file=sys.stderr)
        return Count(failed=1)
    reports = root.path / TREE.relative_to('/') / 'build/junit'
    for old in reports.glob('functional-*.xml'):
        old.unlink()
    # The files come from a checkout of somebody else, as git sees it there.
    root.call(['git', 'config', '--global', 'safe.directory', '*'])
    if root.call(['make', 'venv']):
        return Count(failed=1)
    root.call(['sh', '-c', _VERSIONS])
    status = root.call([*_TESTS, *extra])
    found = [count(report) for report in sorted(reports.glob('functional-*.xml'))]
    return verdict(status, sum(found, Count()))


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; the exit status is 0 when all tests passed in every suite, else 1."""
    parser = argparse.ArgumentParser(prog='python -m tests.versions', description=__doc__)
    parser.add_argument('suites', nargs='*', default=SUITES, help='Debian suites (%(default)s)')
    parser.add_argument('-k', metavar='EXPRESSION', help="pytest's: only these tests")
    options = parser.parse_args(argv)
    extra = ['-k', options.k] if options.k else []
    total = Count()
    for suite in options.suites:
        counted = test(Root(suite), extra)
        print(f'{suite}: {counted}', flush=True)
        total += counted
    return closing(total)


if __name__ == '__main__':
    sys.exit(main())
