"""`natural-traces generalization`: seven detectors, trained on four generators of the zoo, tested on all twelve."""

from typing import Annotated, Any

import typer

from helpers.cli.common import AsJson, Draws, print_json, print_rows


def generalization(
    detectors: Annotated[str, typer.Option(help="Names, separated by commas; all seven when left out.")] = "",
    seeds: Annotated[int, typer.Option(min=1, help="Number of seeds, from 0.")] = 3,
    steps: Annotated[int, typer.Option(min=1, help="Steps of the supervised stage.")] = 200,
    mapping_steps: Annotated[int, typer.Option(min=1, help="Steps of stage 1.")] = 100,
    draws: Draws = 1000,
    as_json: AsJson = False,
) -> None:
    """Train seven detectors on four generators of the zoo and test them on all twelve: AP with intervals."""
    from helpers.detectors.config import DetectorError
    from helpers.generators.sets import TRAINING_GENERATORS
    from helpers.lessons.lesson06.line_up import LINE_UP, measure

    names = detectors.split(",") if detectors else list(LINE_UP)
    if unknown := sorted(set(names) - set(LINE_UP)):
        raise DetectorError(f"{', '.join(unknown)}: not in the line-up (known: {', '.join(LINE_UP)})")
    reports = {name: measure(name, list(range(seeds)), steps, mapping_steps, draws) for name in names}
    if as_json:
        result: dict[str, Any] = {
            "trained_on": list(TRAINING_GENERATORS),
            "seeds": list(range(seeds)),
            "steps": steps,
            "mapping_steps": mapping_steps,
            "detectors": {name: report.to_dict() for name, (report, _) in reports.items()},
        }
        print_json(result, indent=1)
        return
    title = f"AP on the zoo, {seeds} seed(s), trained on {', '.join(TRAINING_GENERATORS)}"
    rows = []
    for name, (report, seconds) in reports.items():
        tier = report.tiers[0]
        unseen, seen = report.mean(tier, "unseen").metrics, report.mean(tier, "seen").metrics
        rows.append((name, str(unseen["ap"]), str(seen["ap"]), str(unseen["accuracy"]), f"{seconds:.0f}"))
    print_rows(("detector", "8 unseen", "4 seen", "accuracy, unseen", "CPU seconds"), rows, title=title, width=110)
