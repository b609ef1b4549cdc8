"""The text table of an experiment's results."""

from statistics import mean, stdev

from course_lib.experiments.results import (
    by_setting,
    file_of,
    find,
    how_to_run,
    stale,
)

TITLES = {
    "knn": "k-NN",
    "probe": "linear probe",
    "effective_rank": "rank",
    "feature_std": "std",
    "pretext": "own task",
}


def table(name: str) -> str:
    """Returns results/NAME.json as a text table: mean and standard deviation of each
    setting over its seeds, and the gain over the untrained network.

    Raises ValueError for an unknown name, and if the file is out of date.
    """
    experiment = find(name)
    settings = by_setting(name)
    if old := stale(name, experiment):
        raise ValueError(
            f"results/{file_of(name).name} is out of date for {'; '.join(old[:3])}: "
            f"run {how_to_run(name)}"
        )
    rows = [row for of_it in settings.values() for row in of_it]
    about = ("setting", "seed", "recipe", "device", "steps", "batch_size", "seconds")
    # a curve is no number, so it has no column
    numbers = (key for row in rows for key in row if isinstance(row[key], (int, float)))
    columns = [key for key in dict.fromkeys(numbers) if key not in about]
    first = max(map(len, settings)) + 2
    cells = {c: [spread(each, c) for each in settings.values()] for c in columns}
    wide = {c: max(map(len, [TITLES.get(c, c), *cells[c]])) + 2 for c in columns}
    head = "".join(f"{TITLES.get(c, c):>{wide[c]}}" for c in columns)
    lines = [f"{'':{first}}{head}  seeds   steps  seconds"]
    for setting, of_it in settings.items():
        found = "".join(f"{spread(of_it, c):>{wide[c]}}" for c in columns)
        seeds = ",".join(str(row["seed"]) for row in of_it)
        seconds = mean(row.get("seconds", 0) for row in of_it)
        lines.append(
            f"{setting:{first}}{found}  {seeds:7}{of_it[0]['steps']:>6}{seconds:>9.0f}"
        )
    for measure in ("knn", "probe"):
        for baseline in ("random encoder", "random, calibrated"):
            if "trained" in settings and baseline in settings:
                random = {row["seed"]: row[measure] for row in settings[baseline]}
                gains = [
                    row[measure] - random[row["seed"]] for row in settings["trained"]
                ]
                by_seed = ", ".join(f"{gain:+.3f}" for gain in gains)
                lines.append(
                    f"{TITLES[measure]}: trained - {baseline} of the same seed = "
                    f"{mean(gains):+.3f} ({by_seed})"
                )
    devices = sorted({row["device"] for row in rows})
    note = f"held-out rows; mean ± standard deviation over seeds; {'; '.join(devices)}"
    return "\n".join([*lines, note])


def spread(rows: list[dict], measure: str) -> str:
    """Returns the text "mean ± standard deviation" of a measure over the rows.

    For a single row, and for a measure that only describes features, it returns only
    the mean. For a measure that the rows do not have it returns an empty text.
    """
    if measure not in rows[0]:
        return ""
    found = [row[measure] for row in rows]
    if measure.startswith(("effective_rank", "feature_std")):
        return f"{mean(found):.3g}"
    return f"{mean(found):.3f}" + (f" ± {stdev(found):.3f}" if len(found) > 1 else "")
