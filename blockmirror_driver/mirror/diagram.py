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
"""Draws the states of a block job from the code, for the documentation.

Run as ``python -m blockmirror_driver.mirror.diagram [mermaid|dot|table]``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

from blockmirror_driver.mirror.states import TERMINAL, TRANSITIONS, JobState


def _inner() -> Iterator[tuple[JobState, JobState]]:
    order = list(JobState)
    pairs = [pair for pair in TRANSITIONS if pair[1] not in TERMINAL]
    yield from sorted(pairs, key=lambda pair: (order.index(pair[0]), order.index(pair[1])))


def _ends(state: JobState) -> tuple[JobState, ...]:
    return tuple(end for end in JobState if end in TERMINAL and (state, end) in TRANSITIONS)


def mermaid() -> str:
    """Return a Mermaid state diagram; final states hang on their states by one arrow each."""
    lines = ['stateDiagram-v2', f'    [*] --> {JobState.NONE.name}']
    lines += [f'    {old.name} --> {new.name}' for old, new in _inner()]
    lines += [f'    {old.name} --> {end.name}' for old in JobState for end in _ends(old)]
    lines += [f'    {end.name} --> [*]' for end in JobState if end in TERMINAL]
    return '\n'.join(lines) + '\n'


def dot() -> str:
    """Return a Graphviz digraph; final states have a double border."""
    lines = ['digraph block_job {', '    rankdir=LR;']
    for state in JobState:
        shape = 'doublecircle' if state in TERMINAL else 'box'
        lines.append(f'    {state.name} [shape={shape}];')
    lines += [f'    {old.name} -> {new.name};' for old, new in _inner()]
    lines += [
        f'    {old.name} -> {end.name} [style=dashed];' for old in JobState for end in _ends(old)
    ]
    return '\n'.join([*lines, '}']) + '\n'


def table() -> str:
    """Return a reStructuredText table: a row per state, with what may follow it."""
    rows = [('State', 'may become', 'may end as')]
    for state in JobState:
        onward = ', '.join(new.name for old, new in _inner() if old is state)
        ends = ', '.join(end.name for end in _ends(state))
        rows.append((state.name, onward or '-', ends or '-'))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    rule = ' '.join('=' * width for width in widths)
    text = [
        ' '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return '\n'.join([rule, text[0], rule, *text[1:], rule]) + '\n'


RENDERERS: dict[str, Callable[[], str]] = {'mermaid': mermaid, 'dot': dot, 'table': table}


def main(argv: list[str]) -> int:
    """Print one rendering; 2 for an unknown one."""
    renderer = RENDERERS.get(argv[0] if argv else 'mermaid')
    if renderer is None:
        sys.stderr.write(f'one of: {", ".join(RENDERERS)}\n')
        return 2
    sys.stdout.write(renderer())
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
