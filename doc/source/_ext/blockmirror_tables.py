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
"""Directives that draw tables of the documentation from the code, so that they can't age.

``.. exit-codes::``            the families of errors and the codes of swap states
``.. errors::``                every error, its code, its hint and whether to retry
``.. states:: swap|mirror``    each state, what holds in it and what may follow
``.. evidence::``              what the reconciler decides for every evidence there can be
``.. rooms::``                 each room with the first line of its docstring
``.. campaign:: FILE``         what a campaign of the thrasher did, from its report
``.. bench:: FILE``            what a run of the benchmark found, from its records
``.. faults:: FILE``           every state and every fault: what came of each cell, from a report
``.. fault-figures:: FILE``    the same report: what each fault is, counts, reasons, violations
``.. virsh-options::``         virsh blockcopy's options beside those of blockmirror copy
"""

from __future__ import annotations

import collections
import enum
import importlib
import inspect
import itertools
import json
import pkgutil
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.docutils import SphinxDirective

import blockmirror_driver
from blockmirror_driver import exception
from blockmirror_driver.mirror import states as mirror_states
from blockmirror_driver.swap import reconcile
from blockmirror_driver.swap import states as swap_states

#: What a help text would set in another type if it could.
_LITERAL = re.compile(r'--[a-z-]+|<[^>]*>|(?<!\w)-(?!\S)|\b(?:vir[A-Z]\w+|VIR_\w+)')


class Table(SphinxDirective):
    """A list-table whose cells are reStructuredText."""

    header: ClassVar[Sequence[str]]
    widths: ClassVar[str] = 'auto'

    def rows(self) -> Iterable[Sequence[str]]:
        """Yield the rows."""
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        """Lay the rows out as a list-table and let docutils parse it."""
        lines = ['.. list-table::', '   :header-rows: 1', f'   :widths: {self.widths}', '']
        for row in (self.header, *self.rows()):
            for index, cell in enumerate(row):
                first, *rest = inspect.cleandoc(cell).splitlines() or ['']
                lines.append(f'   {"*" if index == 0 else " "} - {first}')
                lines += [f'       {line}' if line else '' for line in rest]
        node = nodes.container()
        source = f'<{self.name}>'
        self.state.nested_parse(StringList(lines, source), self.content_offset, node)
        return node.children


class ExitCodes(Table):
    """What each exit code means, and which states of a swap it may come with."""

    header = ('Code', 'Meaning', 'The swap may be')
    widths = '8 60 32'

    def rows(self) -> Iterator[Sequence[str]]:
        """One row per code."""
        yield '0', 'Done and verified; with ``--async``, the copy was started.', _states(0)
        for family in exception.families():
            yield str(family.exit_code), family.meaning, _states(family.exit_code)
        text = 'Interrupted by a signal. The block job was left running, journaled.'
        yield '130', text, _states(130)


class Errors(Table):
    """Every error of the tree."""

    header = ('Error', 'Code', 'Means', 'Hint', 'Retry')
    widths = '20 6 34 32 8'

    def rows(self) -> Iterator[Sequence[str]]:
        """Depth first, as the tree is drawn."""
        for family in exception.families():
            yield from self._below(family)

    def _below(self, error: type[exception.BlockmirrorError]) -> Iterator[Sequence[str]]:
        means = inspect.getdoc(error) or ''
        yield (
            f'``{error.__name__}``',
            str(error.exit_code),
            means.partition('\n\n')[0],
            error.default_hint or '-',
            'yes' if error.retryable else 'no',
        )
        for child in error.__subclasses__():
            if child.__module__ == exception.__name__:
                yield from self._below(child)


class States(Table):
    """The states of one of the two machines."""

    header = ('State', 'What holds in it', 'May become')
    widths = '14 60 26'
    required_arguments = 1

    MACHINES: ClassVar[dict[str, tuple[type[enum.Enum], frozenset[tuple[Any, Any]]]]] = {
        'swap': (swap_states.SwapState, swap_states.TRANSITIONS),
        'mirror': (mirror_states.JobState, mirror_states.TRANSITIONS),
    }

    def rows(self) -> Iterator[Sequence[str]]:
        """In the order of the enumeration, with the prose beside each member."""
        machine, transitions = self.MACHINES[self.arguments[0]]
        documented = ModuleAnalyzer.for_module(machine.__module__).find_attr_docs()
        for state in machine:
            prose = '\n'.join(documented.get((machine.__name__, state.name), ['-']))
            after = [new for new in machine if (state, new) in transitions]
            yield state.name, prose.strip(), ', '.join(new.name for new in after) or '(final)'


class EvidenceTable(Table):
    """Every combination of evidence, folded into as few rows as the decisions allow."""

    header = ('Guest', 'Block job', 'Live source', 'Stored source', 'Pivot asked', 'Then')
    widths = '10 16 16 16 10 32'

    FIELDS: ClassVar[tuple[tuple[object, ...], ...]] = (
        tuple(reconcile.Guest),
        tuple(reconcile.Job),
        tuple(reconcile.Side),
        tuple(reconcile.Side),
        (False, True),
    )

    def rows(self) -> Iterator[Sequence[str]]:
        """Ask the reconciler about each combination; group what it answers alike."""
        groups: dict[reconcile.Verdict, list[tuple[object, ...]]] = {}
        for values in itertools.product(*self.FIELDS):
            verdict = reconcile.decide(reconcile.Evidence(*values))  # type: ignore[arg-type]
            groups.setdefault(verdict, []).append(values)
        for verdict, found in groups.items():
            seen = [{values[field] for values in found} for field in range(len(self.FIELDS))]
            then = f'**{verdict.decision.value}**: {verdict.reason}'
            if len(found) != len(list(itertools.product(*seen))):
                raise self.error(f'{verdict.reason}: covers no rectangle of the evidence')
            cells = [_cell(values, whole) for values, whole in zip(seen, self.FIELDS, strict=True)]
            yield (*cells, then)


class Rooms(Table):
    """What each room is for, in its own words."""

    header = ('Room', 'What it is for')
    widths = '20 80'

    def rows(self) -> Iterator[Sequence[str]]:
        """Packages and modules at the top."""
        for found in pkgutil.iter_modules(blockmirror_driver.__path__):
            module = importlib.import_module(f'blockmirror_driver.{found.name}')
            summary = (inspect.getdoc(module) or '-').partition('\n\n')[0]
            yield f'``{found.name}{"/" if found.ispkg else ".py"}``', summary


class ReportTable(Table):
    """A table of a report in JSON; its argument is the file, beside the page."""

    required_arguments = 1

    def report(self) -> dict[str, Any]:
        """Read the report."""
        path = Path(self.env.doc2path(self.env.docname)).parent / self.arguments[0]
        self.env.note_dependency(str(path))
        found: dict[str, Any] = json.loads(path.read_text())
        return found


class Campaign(ReportTable):
    """The report of a campaign."""

    header = ('What', 'Figures')
    widths = '25 75'

    def rows(self) -> Iterator[Sequence[str]]:
        """One row per part of the report."""
        report = self.report()
        yield 'Seeds', ', '.join(str(seed) for seed in report['seeds'])
        yield 'Swaps', f'{report["swaps"]}, in {report["seconds"] / 60:.0f} minutes'
        yield 'Violations of a promise', str(len(report['violations']))
        yield 'Writes acknowledged, and compared', f'{report["writes_acknowledged"]:,}'
        yield 'Moved by pivots', f'{report["bytes_moved"] / (1 << 30):.1f} GiB'
        for title, name in (
            ('What was done to it', 'blows'),
            ('How it ended', 'ends'),
            ('Exit codes (negative: killed)', 'exit_codes'),
            ('Pairs', 'pairs'),
        ):
            yield title, _counted(collections.Counter(report[name]))


class Faults(ReportTable):
    """A row per fault, a column per state."""

    header = ('Fault', 'Proves', *(state.name for state in swap_states.SwapState))
    widths = f'20 6{" 6" * len(swap_states.SwapState)}'

    def rows(self) -> Iterator[Sequence[str]]:
        """In the order of the report."""
        report = self.report()
        cells = {one['cell']: one for one in report['cells']}
        for fault in report['faults']:
            marks = [_mark(fault, state.value, cells) for state in swap_states.SwapState]
            yield fault['name'], fault['promise'], *marks


class FaultFigures(ReportTable):
    """What the marks of the other table stand for."""

    header = ('What', 'Said in full')
    widths = '25 75'

    def rows(self) -> Iterator[Sequence[str]]:
        """Counts first, then each fault, then what was violated."""
        report = self.report()
        cells = report['cells']
        impossible = sum(len(one['impossible']) for one in report['faults'])
        violated = [one for one in cells if one['result'] != 'held']
        held = f'{len(cells) - len(violated)} held, {len(violated)} violated'
        counts = f'{len(cells)} run, {held}; {impossible} impossible'
        yield 'Cells', counts
        taken = sum(one['seconds'] for one in cells)
        yield 'Seconds of a cell', f'{taken / max(1, len(cells)):.1f} on average'
        yield 'The guest stood still', '; '.join(_stood_still(cells))
        codes = collections.Counter(str(one.get('exit')) for one in cells)
        yield 'Exit codes (negative: killed)', _counted(codes)
        yield 'Ends', _counted(collections.Counter(str(one.get('end')) for one in cells))
        kinds = (f'{one.get("from")} to {one.get("to")}' for one in cells)
        yield 'Pairs', _counted(collections.Counter(kinds))
        for fault in report['faults']:
            reasons = collections.defaultdict(list)
            for state, reason in fault['impossible'].items():
                reasons[reason].append(state.upper())
            told = [f'{", ".join(states)}: {reason}' for reason, states in reasons.items()]
            what = fault['what'][0].upper() + fault['what'][1:]
            yield fault['name'], ' '.join([f'{what}.', *told])
        for one in violated:
            yield f'{one["cell"]} (✗)', one['result'].partition('\n')[0]


class Bench(SphinxDirective):
    """The tables and plots of a run of the benchmark; its argument is the file of its records.

    The plots lie beside it, as ``python -m tests.bench --report`` has drawn them.
    """

    required_arguments = 1
    #: Files by the sentence above each.
    PLOTS: ClassVar[dict[str, str]] = {
        'bench-peers.svg': 'Ours over what one would use instead; left of the line it is faster.',
        'bench-limit.svg': 'Each over what the storage can do with no guest.',
        'bench-request.svg': 'How soon after READY the pivot is asked for.',
        'bench-guest.svg': "What a guest that writes notices of the copy: its writes' latency.",
        'bench-sizes.svg': 'What a larger volume costs that holds no more data.',
        'bench-beside.svg': 'What more swaps cost the one process that drives them.',
    }

    def run(self) -> list[nodes.Node]:
        """Make the report, and let docutils parse it."""
        # Late, and from the tree: the benchmark is no part of the package.
        from tests.bench import report
        from tests.bench.results import Results

        path = Path(self.env.doc2path(self.env.docname)).parent / self.arguments[0]
        self.env.note_dependency(str(path))
        lines = report.text(Results.load(path)).splitlines()
        for name, told in self.PLOTS.items():
            if path.with_name(name).exists():
                lines += ['', told, '', f'.. image:: {name}', f'   :alt: {told}', '']
        node = nodes.container()
        self.state.nested_parse(StringList(lines, f'<{self.name}>'), self.content_offset, node)
        return node.children


class VirshOptions(Table):
    """Both commands' options, from what virsh's help tells and from our parser.

    The first is kept in a file, and a test compares that with the virsh which is installed.
    """

    header = ('virsh blockcopy', 'blockmirror copy', 'What it is')
    widths = '26 26 48'

    def rows(self) -> Iterator[Sequence[str]]:
        """In virsh's order."""
        # Late: the other tables need nothing of the command.
        from blockmirror_driver.cli.app import BlockmirrorApp
        from blockmirror_driver.cli.blockcopy import Copy

        parser = Copy(BlockmirrorApp(), None).get_parser('copy')
        actions = parser._actions  # noqa: SLF001 - argparse has no other way to list them
        ours = {name: action for action in actions for name in action.option_strings}
        path = Path(self.env.doc2path(self.env.docname)).with_name('virsh-blockcopy.txt')
        self.env.note_dependency(str(path))
        for line in path.read_text().splitlines():
            option, _, value = line.partition(' ')
            action = ours[option]
            shown = option if action.nargs == 0 else f'{option} {action.metavar or value}'
            text = _LITERAL.sub(r'``\g<0>``', (action.help or '').replace('%%', '%'))
            yield f'``{line}``', f'``{shown}``', text


def _mark(fault: dict[str, Any], state: str, cells: dict[str, dict[str, Any]]) -> str:
    if state in fault['impossible']:
        return 'n/a'
    cell = cells.get(f'{state}/{fault["name"]}')
    if cell is None:
        return '?'
    return '✓' if cell['result'] == 'held' else '✗'


def _stood_still(cells: Sequence[dict[str, Any]]) -> Iterator[str]:
    stood = collections.defaultdict(list)
    for one in cells:
        if 'moment' in one:
            stood[one['moment']].append(one['longest_ms'])
    for moment, found in sorted(stood.items()):
        where = ', in just a moment that remains' if moment else ''
        yield f'{max(found) / 1000:.1f} s at most in {len(found)} cells{where}'


def _counted(counts: collections.Counter[str]) -> str:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ', '.join(f'{what}: {count}' for what, count in ordered)


def _states(code: int) -> str:
    found = [state.name for state, codes in swap_states.EXIT_CODES.items() if code in codes]
    return ', '.join(found) or 'none was begun'


def _cell(values: set[object], whole: Sequence[object]) -> str:
    if values == set(whole):
        return 'any'
    return ', '.join(_word(value) for value in whole if value in values)


def _word(value: object) -> str:
    if isinstance(value, enum.Enum):
        return str(value.value)
    return 'yes' if value else 'no'


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directives."""
    app.add_directive('exit-codes', ExitCodes)
    app.add_directive('errors', Errors)
    app.add_directive('states', States)
    app.add_directive('evidence', EvidenceTable)
    app.add_directive('rooms', Rooms)
    app.add_directive('virsh-options', VirshOptions)
    app.add_directive('campaign', Campaign)
    app.add_directive('bench', Bench)
    app.add_directive('faults', Faults)
    app.add_directive('fault-figures', FaultFigures)
    return {'version': '1', 'parallel_read_safe': True, 'parallel_write_safe': True}
