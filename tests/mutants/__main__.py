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
"""``python -m tests.mutants``: break each promise in a copy of the tree; its test must fail.

A mutant is killed when the tests ran and failed; that they pass without the change is what
``make test`` shows. Brings a lab up for those that need real parts. Exit status 0 when all
were killed. With ``--report`` the table in the documentation is written.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.lab.inside import run_inside
from tests.lab.lab import VARIABLE
from tests.mutants.catalog import MUTANTS, Mutant

ROOT = Path(__file__).resolve().parents[2]
REPORT = ROOT / 'doc/source/contributor/mutants.csv'
_TREES = ('blockmirror_driver', 'tests', 'stubs', 'doc', 'etc')
_FILES = ('pyproject.toml', 'setup.cfg', 'setup.py', 'Makefile')
#: pytest's exit status when tests ran and some failed; any other proves nothing.
TESTS_FAILED = 1
#: Seconds; a mutant that hangs was not noticed by a test.
DEADLINE = 300.0


def verdict(mutant: Mutant, directory: Path) -> str:
    """Return ``killed``, or what happened instead."""
    copy = directory / 'tree'
    ignored = shutil.ignore_patterns('__pycache__', 'build', 'node_modules')
    for name in _TREES:
        shutil.copytree(ROOT / name, copy / name, ignore=ignored)
    for name in _FILES:
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, copy)
    path = copy / mutant.file
    text = path.read_text()
    if mutant.old not in text:
        return 'NOT THERE: the text that it changes is not in the file any more'
    path.write_text(text.replace(mutant.old, mutant.new))
    argv = [sys.executable, '-m', 'pytest', '-q', '-x', '-p', 'no:cacheprovider', *mutant.tests]
    try:
        done = subprocess.run(
            argv, cwd=copy, env={**os.environ, 'PYTHONPATH': str(copy)}, check=False,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=DEADLINE,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return 'hangs'
    if done.returncode == TESTS_FAILED:
        return 'killed'
    return f'SURVIVED (pytest: {done.returncode})\n{done.stdout[-1500:]}'


def judge(mutant: Mutant) -> str:
    """Break a copy of the tree that goes afterwards, and run the tests in it."""
    with tempfile.TemporaryDirectory(prefix='bm-mutant-') as directory:
        return verdict(mutant, Path(directory))


def row(mutant: Mutant, answer: str) -> str:
    """A line of the table."""
    what = ' '.join(mutant.tests).replace('tests/', '')
    where = 'real' if mutant.on_real_parts else 'unit'
    cells = (mutant.promise, mutant.name, where, what, answer)
    return ','.join(f'"{cell}"' for cell in cells)


def main(argv: Sequence[str] | None = None) -> int:
    """Judge all mutants, or those whose promise or name holds a text."""
    parser = argparse.ArgumentParser(prog='python -m tests.mutants', description=__doc__)
    parser.add_argument('-k', default='', help='only those whose promise or name holds this')
    parser.add_argument('--report', action='store_true', help=f'write {REPORT.name}')
    options = parser.parse_args(argv)
    chosen = [one for one in MUTANTS if options.k in f'{one.promise} {one.name}']
    if any(one.on_real_parts for one in chosen) and not os.environ.get(VARIABLE):
        return run_inside('mutants', 'tests.mutants')
    rows, survivors = [], 0
    for mutant in chosen:
        answer = judge(mutant)
        survivors += answer != 'killed'
        print(f'{mutant.promise}  {mutant.name}: {answer}', flush=True)
        rows.append(row(mutant, answer.splitlines()[0]))
    if options.report:
        REPORT.write_text('\n'.join(rows) + '\n')
    print(f'{len(chosen)} mutants, {len(chosen) - survivors} killed, {survivors} survived')
    return 1 if survivors or not chosen else 0


if __name__ == '__main__':
    sys.exit(main())
