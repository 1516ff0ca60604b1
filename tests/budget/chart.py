#!/usr/bin/python3
"""Draw what the budget suite has measured: mote against conmon, as one SVG.

    chart.py RESULT.json CHART.svg

Needs Debian's python3-matplotlib, and so Debian's own Python. The text stays text, and nothing in the
file depends on the day, so that the same result gives the same file. A panel whose part was not measured
is left out.
"""

import json
import sys

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt  # pylint: disable=wrong-import-position

COLOURS = {"mote": "#1b7f5c", "conmon": "#c2571a", "floor": "#8a8f98"}
LABELS = {"mote": "mote", "conmon": "conmon", "floor": "plain copy"}


def number(value):
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def pairs(axes, names, series, title):
    """Bars side by side, one group for each name, with their values written on them."""
    width = 0.8 / len(series)
    for n, (program, values) in enumerate(series.items()):
        places = [i + (n - (len(series) - 1) / 2) * width for i in range(len(names))]
        known = [(place, value) for place, value in zip(places, values) if value]
        bars = axes.bar([place for place, _ in known], [value for _, value in known], width * 0.94,
                        color=COLOURS[program])
        axes.bar_label(bars, [number(value) for _, value in known], fontsize=7, padding=1)
    axes.set_xticks(range(len(names)), names, fontsize=8)
    axes.set_title(title, fontsize=9, loc="left")
    axes.margins(y=0.12)
    axes.tick_params(axis="y", labelsize=7)
    axes.tick_params(axis="x", length=0)


def curves(axes, places, series, title, along):
    """A line for each program, both axes by powers of ten, with the values of mote and conmon."""
    above = -10 if "floor" in series else 5  # the plain copy's line is above the others
    for program, values in series.items():
        known = [(place, value) for place, value in zip(places, values) if value]
        axes.plot([place for place, _ in known], [value for _, value in known], "o-", markersize=3,
                  color=COLOURS[program])
        for place, value in known if program != "floor" else []:
            axes.annotate(number(value), (place, value), textcoords="offset points", fontsize=7,
                          ha="center", xytext=(0, above if program == "conmon" else -10))
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.minorticks_off()
    axes.set_xticks(places, [f"{place:,}" for place in places])
    axes.tick_params(labelsize=7)
    axes.set_xlabel(along, fontsize=7)
    axes.set_title(title, fontsize=9, loc="left")
    axes.margins(y=0.15)
    axes.grid(axis="y", color="#dddddd", linewidth=0.5)


def rows_of(result, keys):
    rows = {row["key"]: row for row in result["rows"]}
    if any(key not in rows or rows[key]["measured"] is None for key in keys):
        return None
    return {"mote": [rows[key]["measured"] for key in keys],
            "conmon": [rows[key]["conmon"] for key in keys]}


def memory(result):
    series = rows_of(result, ["rss", "private_dirty", "charge"])
    if series is None:
        return None
    return lambda axes: pairs(axes, ["RSS", "private", "charged by\nthe kernel"], series,
                              "Memory for one idle container, kB")


def many(result):
    scale = result.get("scale")
    if not scale:
        return None
    series = {program: [scale[count][program]["charge_mb"] for count in scale]
              for program in ("mote", "conmon") if program in next(iter(scale.values()))}
    return lambda axes: curves(axes, [int(count) for count in scale], series,
                               "Memory for so many, charged by the kernel, MB", "idle containers")


def waits(result):
    series = rows_of(result, ["start_us", "exec_end_us", "end_file_us", "end_command_us"])
    if series is None:
        return None
    names = ["start, to\nthe runtime", "exec session,\nwhole", "exit, to\nthe exit file",
             "exit, to the\nexit command"]
    return lambda axes: pairs(axes, names, series, "Time that a caller waits, µs")


def lines_of(result):
    found = result.get("throughput")
    if not found:
        return None, []
    return found, [case for case in found if case.isdigit() and case != "0"]


def speed(result):
    found, cases = lines_of(result)
    if not found:
        return None

    series = {program: [found[case].get(program, {}).get("mbps") for case in cases]
              for program in ("floor", "mote", "conmon")}
    return lambda axes: curves(axes, [int(case) for case in cases], series,
                               "Output recorded, MB/s", "bytes of a line")


def effort(result):
    found, cases = lines_of(result)
    cases = [case for case in cases if int(case) >= 16]
    if not cases:
        return None
    series = {program: [found[case][program]["cpu"] for case in cases]
              for program in ("mote", "conmon", "floor") if program in found[cases[0]]}
    names = [f"{int(case):,}" for case in cases]
    return lambda axes: pairs(axes, names, series,
                              "CPU seconds for 1 GB of output, by bytes of a line")


def main():
    source, target = sys.argv[1:]
    with open(source, encoding="utf-8") as file:
        result = json.load(file)
    plt.rcParams.update({
        "svg.fonttype": "none", "svg.hashsalt": "mote", "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans"], "axes.spines.top": False, "axes.spines.right": False})
    panels = [panel for panel in (memory(result), many(result), waits(result), speed(result),
                                  effort(result)) if panel]
    if not panels:
        raise SystemExit(f"{source} has nothing to draw")
    rows = (len(panels) + 1) // 2
    figure = plt.figure(figsize=(9, 2.9 * rows))
    for n, panel in enumerate(panels):
        # The last of an odd number has the whole width.
        is_wide = n == len(panels) - 1 and len(panels) % 2 == 1
        panel(figure.add_subplot(rows, 1 if is_wide else 2, rows if is_wide else n + 1))
    handles = [matplotlib.patches.Patch(color=COLOURS[name], label=LABELS[name])
               for name in ("mote", "conmon", "floor")]
    handles[1].set_label(result["conmon"].replace(" version", "") if result["conmon"] else "conmon")
    figure.legend(handles=handles, loc="upper center", ncols=3, fontsize=9, frameon=False)
    figure.tight_layout(rect=(0, 0, 1, 0.96), h_pad=1.5)
    figure.savefig(target, metadata={"Date": None, "Creator": None}, facecolor="white")
    return 0


sys.exit(main())
