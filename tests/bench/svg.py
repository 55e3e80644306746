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
"""A plot of points with intervals, or of lines, as SVG: the same figures give the same bytes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

#: Told apart by most who see colours differently (Okabe and Ito).
COLOURS = ('#0072b2', '#d55e00', '#009e73', '#cc79a7', '#56b4e9', '#000000')
_FONT = 'font-family="sans-serif" font-size="12"'
_GREY, _LIGHT = '#888888', '#dddddd'


@dataclass(frozen=True)
class Scale:
    """From a value to a place; a logarithmic one, unless it begins at 0 or below.

    :ivar low: the value at `begin`
    """

    low: float
    high: float
    begin: float
    end: float

    @classmethod
    def around(cls, values: Sequence[float], begin: float, end: float, *, log: bool) -> Scale:
        """One that all values have room in."""
        if log:
            low, high = min(values) / 1.15, max(values) * 1.15
        else:
            low, high = 0.0, max(values, default=1.0) * 1.05 or 1.0
        return cls(low, high, begin, end)

    def place(self, value: float) -> float:
        """Where a value is drawn."""
        if self.low > 0:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.begin + share * (self.end - self.begin)

    def ticks(self) -> list[float]:
        """Round values to mark: 1, 2 and 5 times the powers of ten, or multiples of one."""
        exponents = range(-9, 10)
        if self.low > 0:
            round_ones = [step * 10.0**power for power in exponents for step in (1, 2, 5)]
            return [one for one in round_ones if self.low <= one <= self.high]
        wanted = self.high / 5
        steps = [step * 10.0**power for power in exponents for step in (1, 2, 5)]
        step = min(one for one in steps if one >= wanted)
        return [step * number for number in range(math.floor(self.high / step) + 1)]


@dataclass
class Drawing:
    """Elements, in the order that they are drawn."""

    width: int
    height: int
    title: str
    parts: list[str] = field(default_factory=list)

    def line(self, *points: tuple[float, float], colour: str, width: float = 1.0) -> None:
        """A line through points."""
        places = ' '.join(f'{x:.1f},{y:.1f}' for x, y in points)
        style = f'fill="none" stroke="{colour}" stroke-width="{width:g}"'
        self.parts.append(f'<polyline points="{places}" {style}/>')

    def dot(self, x: float, y: float, colour: str) -> None:
        """A point."""
        self.parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>')

    def text(self, x: float, y: float, words: str, anchor: str = 'start') -> None:
        """A line of text."""
        place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
        self.parts.append(f'<text {place} {_FONT}>{escape(words)}</text>')

    def __str__(self) -> str:
        size = f'width="{self.width}" height="{self.height}"'
        box = f'viewBox="0 0 {self.width} {self.height}"'
        head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} {box} role="img">'
        ground = f'<rect {size} fill="white"/>'
        title = f'<title>{escape(self.title)}</title>'
        return '\n'.join([head, title, ground, *self.parts, '</svg>', ''])


@dataclass(frozen=True)
class Mark:
    """A median and its interval in a row."""

    series: str
    middle: float
    low: float
    high: float


def intervals(
    title: str, axis: str, rows: Sequence[tuple[str, Sequence[Mark]]], *, beside: float = 1.0
) -> str:
    """A row for each thing with its marks, on a logarithmic axis.

    :param beside: a line is drawn here, as everything is held against it
    """
    series = list(dict.fromkeys(mark.series for _, marks in rows for mark in marks))
    values = [one for _, marks in rows for mark in marks for one in (mark.low, mark.high)]
    row, left, top = 14 * max(1, len(series)) + 8, 300, 58
    bottom = top + row * len(rows)
    drawing = Drawing(860, bottom + 44, title)
    scale = Scale.around([*values, beside], left, 840, log=True)
    _head(drawing, title, series)
    for tick in scale.ticks():
        x = scale.place(tick)
        drawing.line((x, top), (x, bottom), colour=_LIGHT)
        drawing.text(x, bottom + 16, f'{tick:g}', 'middle')
    drawing.text((left + 840) / 2, bottom + 34, axis, 'middle')
    x = scale.place(beside)
    drawing.line((x, top), (x, bottom), colour=_GREY, width=2.0)
    for number, (label, marks) in enumerate(rows):
        y = top + row * number
        drawing.text(left - 8, y + row / 2 + 4, label, 'end')
        for mark in marks:
            at = series.index(mark.series)
            where = y + 11 + 14 * at
            ends = [(scale.place(value), where) for value in (mark.low, mark.high)]
            drawing.line(*ends, colour=COLOURS[at], width=2.0)
            drawing.dot(scale.place(mark.middle), where, COLOURS[at])
    return str(drawing)


def lines(
    title: str,
    axes: tuple[str, str],
    series: Mapping[str, Sequence[tuple[float, float]]],
    *,
    log: tuple[bool, bool] = (False, False),
) -> str:
    """A line for each series of points."""
    drawing = Drawing(860, 400, title)
    points = [point for some in series.values() for point in some]
    across = Scale.around([x for x, _ in points], 70, 840, log=log[0])
    up = Scale.around([y for _, y in points], 350, 58, log=log[1])
    _head(drawing, title, list(series))
    for tick in across.ticks():
        x = across.place(tick)
        drawing.line((x, 58), (x, 350), colour=_LIGHT)
        drawing.text(x, 366, f'{tick:g}', 'middle')
    for tick in up.ticks():
        y = up.place(tick)
        drawing.line((70, y), (840, y), colour=_LIGHT)
        drawing.text(64, y + 4, f'{tick:g}', 'end')
    drawing.text(455, 386, axes[0], 'middle')
    drawing.text(64, 56, axes[1], 'end')
    for colour, some in zip(COLOURS, series.values(), strict=False):
        places = [(across.place(x), up.place(y)) for x, y in some]
        drawing.line(*places, colour=colour, width=1.5)
        for x, y in places if len(places) < 20 else []:
            drawing.dot(x, y, colour)
    return str(drawing)


def _head(drawing: Drawing, title: str, series: Sequence[str]) -> None:
    drawing.text(12, 20, title)
    at = 12.0
    for colour, name in zip(COLOURS, series, strict=False):
        drawing.dot(at + 4, 36, colour)
        drawing.text(at + 12, 40, name)
        at += 30 + 7.2 * len(name)
