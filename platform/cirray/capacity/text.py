"""Output of a plan as text and as JSON."""

from __future__ import annotations

import json

from cirray.capacity.figures import Figure
from cirray.capacity.plan import Plan


def as_json(plan: Plan) -> str:
    """Returns the complete plan as JSON."""
    return json.dumps(plan.model_dump(mode="json"), indent=2)


def as_text(plan: Plan) -> str:
    """Returns the plan as aligned text: each number with its unit, error bar, basis and formula."""
    inputs = plan.inputs
    lines = [
        f"{inputs.items:,} items x {inputs.dim} dimensions, {inputs.qps:,g} searches a second, {inputs.replicas} "
        f"copies, quantization {plan.quantization}"
    ]
    section = ""
    for figure in plan.figures:
        if figure.section != section:
            section = figure.section
            lines += ["", section]
        lines.append(_line(figure))
    lines += ["", f"formulas against measured points ({plan.measured.engine}, {plan.measured.measured})"]
    lines.append(f"  {'point':<20}{'memory':>9}{'disk':>9}{'query CPU':>11}{'graph CPU':>11}")
    for check in plan.checks:
        cells = [f"{_percent(check.memory):>9}", f"{_percent(check.disk):>9}"]
        cells += [f"{_percent(check.search):>11}", f"{_percent(check.build):>11}"]
        lines.append(f"  {check.point:<20}{''.join(cells)}")
    bar = plan.error_bar
    lines += [
        "  - = no formula, or as many coefficients as points: no test",
        f"  error bar of bytes: +-{bar.relative:.1%} = max({bar.worst:.1%} at a point, {bar.held_out:.1%} at the "
        f"largest when predicted from the others, {bar.unseen:.1%} before the formula was changed to fit)",
        f"  x max(1, log10({bar.factor:,.0f})): the plan is {bar.factor:,.0f} times the measured size; unchanged up to "
        f"10 times, once more per further factor of 10",
    ]
    lines += ["", "notes", *(f"  - {note}" for note in plan.notes)]
    lines += ["", "basis", *(f"  {name:<10}{text}" for name, text in plan.sources.items())]
    return "\n".join(lines)


def _line(figure: Figure) -> str:
    value, unit = _shown(figure.value, figure.unit)
    spread = ""
    if figure.low is not None and figure.high is not None:
        low, high = (_shown(end, figure.unit, figure.value)[0] for end in (figure.low, figure.high))
        spread = f"{low} to {high}"
    return f"  {figure.name:<34}{value:>12} {unit:<14}{spread:<22}{figure.basis:<9} {figure.formula}"


def _shown(value: float, unit: str, like: float | None = None) -> tuple[str, str]:
    """Formats a number and its unit; bytes in the unit that suits `like`, or else `value`."""
    if unit != "bytes":
        whole = unit in ("nodes", "shards", "items", "copies", "replicas")
        return (f"{value:,.0f}" if whole else _digits(value)), unit
    for power, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if (value if like is None else like) >= power or name == "MB":
            return _digits(value / power), name
    raise AssertionError(unit)


def _digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:,.1f}" if value >= 100 else f"{value:,.2f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:+.1%}"
