# SPDX-License-Identifier: GPL-2.0
"""The pictures of the report."""

import matplotlib

matplotlib.use("svg")
# The same numbers make the same file.
matplotlib.rcParams["svg.hashsalt"] = "dmirror"
# Text as text: each file is a tenth as large.
matplotlib.rcParams["svg.fonttype"] = "none"
matplotlib.rcParams["font.size"] = 9

# pylint: disable=wrong-import-position
from matplotlib import pyplot  # noqa: E402

OURS, THEIRS, FLOOR = "#1f6feb", "#b7791f", "#555555"


def save(figure, path):
    """Without the date, which would make each file another one, and blanks at line ends."""
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None, "Creator": None})
    pyplot.close(figure)
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("".join(f"{line.rstrip()}\n" for line in lines), encoding="utf-8")


def cost(path, ours, theirs, pages):
    """Bars: instructions a page of each operation, ours and theirs, and the floor."""
    cells = [cell for cell in ours.cells if cell[1] == pages and "/" in cell[0]][::-1]
    figure, axes = pyplot.subplots(figsize=(8, 0.32 * len(cells) + 1))
    places = range(len(cells))
    axes.barh([p + 0.2 for p in places], [theirs.per_page(c) or 0 for c in cells], 0.38,
              color=THEIRS, label="C driver")
    axes.barh([p - 0.2 for p in places], [ours.per_page(c) for c in cells], 0.38,
              color=OURS, label="dmirror")
    for place, cell in zip(places, cells):
        floor = ours.floor(cell)
        if floor:
            axes.plot([floor, floor], [place - 0.45, place + 0.45], color=FLOOR, linewidth=2,
                      label="its copies alone" if place == 0 else None)
    axes.set_yticks(list(places), [cell[0] for cell in cells])
    axes.set_ylim(-0.7, len(cells) - 0.3)
    axes.set_xlabel(f"guest instructions a page, {pages} pages")
    handles, labels = axes.get_legend_handles_labels()
    by_label = dict(zip(labels, handles))
    axes.legend(by_label.values(), by_label.keys(), loc="lower right")
    axes.spines[["top", "right"]].set_visible(False)
    save(figure, path)


def growth(path, growths, titles):
    """A row of curves for each quantity: one picture each for what a driver does."""
    names = {"dmirror": ("dmirror", OURS), "test_hmm": ("C driver", THEIRS)}
    ours = growths["dmirror"]
    quantities = list(ours.quantities)
    wide = max(len(lines) for lines in ours.quantities.values())
    figure, rows = pyplot.subplots(len(quantities), wide, squeeze=False,
                                   figsize=(1.9 * wide, 2.1 * len(quantities)))
    for row, quantity in zip(rows, quantities):
        for axes in row:
            axes.set_visible(False)
        for axes, operation in zip(row, ours.quantities[quantity]):
            axes.set_visible(True)
            for driver, driven in growths.items():
                line = sorted(driven.quantities[quantity][operation].items())
                label, color = names[driver]
                axes.plot([max(number, 1) for number, _ in line], [took for _, took in line],
                          color=color, label=label, marker=".")
            axes.set_xscale("log", base=2)
            axes.set_ylim(bottom=0)
            axes.set_title(operation, fontsize=8)
            axes.tick_params(labelsize=6)
            axes.spines[["top", "right"]].set_visible(False)
        row[0].set_ylabel(titles[quantity], fontsize=7)
    rows[0][0].legend(fontsize=6)
    figure.tight_layout()
    save(figure, path)
