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
"""What is made of the benchmark's records: verdicts, tables, plots."""

from __future__ import annotations

import tempfile
from pathlib import Path

import testtools
from docutils import nodes  # type: ignore[import-untyped]
from docutils.core import publish_doctree  # type: ignore[import-untyped]
from lxml import etree

from tests.bench.cases import LIMIT, LIMITED, NOVA, OURS, RESIDENT, VIRSH, Sample, paired
from tests.bench.goals import Verdict, compared, judge, over_all
from tests.bench.plots import draw
from tests.bench.report import RECORDS, text, write
from tests.bench.results import START, Keeper, Results
from tests.unit.bench.made import EMPTY, FULL, WRITES, results


class PairsTest(testtools.TestCase):
    def test_a_round_that_one_of_both_lacks_is_left_out(self) -> None:
        samples = results(3).samples
        samples = [one for one in samples if one.key != (FULL, VIRSH, 1)]
        of_full = [one for one in samples if one.case == FULL]
        rounds = [(mine.round, other.round) for mine, other in paired(of_full, OURS, VIRSH)]
        self.assertEqual([(0, 0), (2, 2)], rounds)

    def test_one_that_failed_is_left_out(self) -> None:
        samples = results(2).samples
        for one in samples:
            one.error = 'broken' if one.key == (FULL, OURS, 0) else ''
        found = compared(samples, FULL, OURS, VIRSH)
        assert found is not None
        self.assertEqual((0.5, 1), (found.median, found.count))

    def test_the_limit_has_no_guest_that_writes(self) -> None:
        self.assertIsNone(compared(results().samples, WRITES, OURS, LIMIT))


class GoalsTest(testtools.TestCase):
    def verdicts(self, found: Results) -> dict[tuple[str, str], Verdict]:
        return {(one.goal, one.of): one.verdict for one in judge(found)}

    def test_what_the_intervals_say(self) -> None:
        found = self.verdicts(results())
        for goal, of, verdict in (
            (f'{OURS}: not slower than {VIRSH}', str(FULL), Verdict.MET),
            (f'{RESIDENT}: not slower than {NOVA}', str(FULL), Verdict.MET),
            (f'{OURS}: time within 5 % of the limit, from 4 GiB on', str(FULL), Verdict.NOT_MET),
            (f'{RESIDENT}: time within 5 % of the limit, from 4 GiB on', str(FULL), Verdict.MET),
            (f'{OURS}: READY to the request for the pivot', 'all', Verdict.NOT_MET),
            (f'{RESIDENT}: READY to the request for the pivot', 'all', Verdict.MET),
            (f'{OURS}: destination as thin as the source', str(EMPTY), Verdict.NOT_MET),
            (f"{OURS}: the guest's p99.9 under twice the idle one", str(WRITES), Verdict.MET),
            (
                f"{OURS}: the guest's longest write over its idle p99.9, the pivot included",
                str(WRITES),
                Verdict.MET,
            ),
            (f'{LIMITED}: off the limit', str(FULL), Verdict.MET),
            ('the time that is left, told after a fifth, is off', str(FULL), Verdict.NOT_MET),
            ('blockmirror --help', 'start-up', Verdict.MET),
            ('all public names of it, over its dependencies', 'start-up', Verdict.NOT_MET),
            ('CPU of all swaps together', '1 side by side', Verdict.MET),
            ('CPU of all swaps together', '8 side by side', Verdict.NOT_MET),
            (
                'threads besides those that wait for a swap, over those of one swap',
                '8 side by side',
                Verdict.MET,
            ),
        ):
            self.assertEqual(verdict, found[goal, of], goal)

    def test_a_guest_is_held_against_what_all_saw_of_it_before(self) -> None:
        found = results()
        for one in found.samples:
            if one.contender == OURS and one.case == WRITES:
                one.idle_p999_us = 100
        goal = f"{OURS}: the guest's p99.9 under twice the idle one"
        self.assertEqual(Verdict.MET, self.verdicts(found)[goal, str(WRITES)])

    def test_few_rounds_tell_nothing(self) -> None:
        self.assertEqual({Verdict.NOT_TOLD}, set(self.verdicts(results(3)).values()))

    def test_an_interval_on_both_sides_tells_nothing(self) -> None:
        found = results()
        for one in found.samples:
            if one.contender == OURS and one.round == 5:
                one.seconds *= 3
        goal = f'{OURS}: not slower than {VIRSH}'
        self.assertEqual(Verdict.NOT_TOLD, self.verdicts(found)[goal, str(FULL)])


class ReportTest(testtools.TestCase):
    def test_the_tables(self) -> None:
        told = text(results())
        for expected in (
            'libvirt 9.0.0, cores 2.',
            'nfs to rbd, full, guest idle, 4096 MiB',
            '0.500 (0.500 to 0.500)',
            'nfs to rbd, full, guest writes, 4096 MiB',
            '90.0',
            '50%',
            '1.50 (0.750 (0.750 to 0.750))',
            '     - 1.00\n     - 0.250\n     -\n     - 0.250\n     - 1.75\n',
        ):
            self.assertIn(expected, told)

    def test_the_tables_can_be_parsed(self) -> None:
        document = publish_doctree(text(results()), settings_overrides={'report_level': 5})
        self.assertEqual([], list(document.findall(nodes.system_message)))
        self.assertEqual(13, len(list(document.findall(nodes.table))))

    def test_over_all_pairs(self) -> None:
        found = results()
        expected = over_all(found.samples, 'full', FULL.size, OURS, VIRSH)
        self.assertIn(f'     - {expected}\n', text(found).partition('**Over all pairs.**')[2])
        self.assertIsNone(over_all(found.samples, 'half', FULL.size, OURS, VIRSH))

    def test_nothing_was_measured(self) -> None:
        self.assertNotIn('list-table', text(Results()))
        self.assertEqual({}, draw(Results()))

    def test_what_failed_is_told(self) -> None:
        broken = Sample(FULL, OURS, 0, error='no answer')
        self.assertIn('Failed: nfs to rbd', text(Results(samples=[broken])))

    def test_the_plots_are_svg_and_always_the_same(self) -> None:
        drawn = draw(results())
        self.assertEqual(6, len(drawn))
        self.assertEqual(drawn, draw(results()))
        for drawing in drawn.values():
            self.assertEqual('{http://www.w3.org/2000/svg}svg', etree.fromstring(drawing).tag)

    def test_written(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            write(results(), Path(folder))
            self.assertEqual({RECORDS, *draw(results())}, {*map(_name, _files(folder))})


class RecordsTest(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name) / 'out' / 'bench.json'

    def test_all_of_it_comes_back(self) -> None:
        made = results()
        self.path.parent.mkdir()
        made.save(self.path)
        self.assertEqual(made, Results.load(self.path))

    def test_each_is_there_as_soon_as_it_was_measured(self) -> None:
        keeper = Keeper(self.path)
        keeper.keep(START, {'help_s': 0.3})
        keeper.sample(Sample(FULL, OURS, 0, 2.0))
        self.assertEqual(keeper.results, Results.load(self.path))

    def test_what_was_torn_is_measured_again(self) -> None:
        keeper = Keeper(self.path)
        for number in range(2):
            keeper.sample(Sample(FULL, OURS, number, 2.0))
        self.path.write_text(self.path.read_text()[:-20])
        again = Keeper(self.path, resume=True)
        self.assertEqual([0], [one.round for one in again.results.samples])
        again.sample(Sample(FULL, OURS, 1, 3.0))
        self.assertEqual(2, len(Results.load(self.path).samples))

    def test_a_later_one_replaces_one_that_failed(self) -> None:
        keeper = Keeper(self.path)
        keeper.sample(Sample(FULL, OURS, 0, error='broken'))
        keeper.sample(Sample(FULL, OURS, 0, 2.0))
        self.assertEqual([2.0], [one.seconds for one in Results.load(self.path).samples])

    def test_a_new_run_begins_anew(self) -> None:
        Keeper(self.path).sample(Sample(FULL, OURS, 0, 2.0))
        self.assertEqual([], Keeper(self.path).results.samples)


def _files(folder: str) -> list[Path]:
    return list(Path(folder).iterdir())


def _name(path: Path) -> str:
    return path.name
