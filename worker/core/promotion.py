"""Whether a version may replace the current one: the project's rule, applied to what was measured; pure."""

from dataclasses import dataclass
from typing import Any

from worker.core.metrics import probability_of_gain

LEAST_DOMAIN_PAIRS = 10
"""A domain with fewer held-out pairs has no say: one pair would be worth ten points."""
LEAST_PROMPTS = 5
"""With fewer held-out prompts no draw says anything: one prompt that is won is won in every draw of it."""
NAMED = 5


@dataclass(frozen=True)
class Rule:
    """Better by `min_gain` with probability `min_probability`; no control pair lost; no domain worse by more than this.

    `max_domain_loss` None asks nothing of the domains. Raises ValueError naming the field.
    """

    min_gain: float = 0.0
    min_probability: float = 0.5
    keep_controls: bool = True
    max_domain_loss: float | None = None

    def __post_init__(self) -> None:
        for name in ("min_gain", "min_probability", "max_domain_loss"):
            value = getattr(self, name)
            if value is not None and not 0.0 <= value <= 1.0:
                raise ValueError(f"{name}: must be between 0 and 1, not {value!r}.")


@dataclass(frozen=True)
class Check:
    """One condition of the rule: what was asked, what was found, and a sentence with both."""

    name: str
    passed: bool
    sentence: str


def check_rule(
    rule: Rule,
    comparison: dict[str, Any],
    controls: dict[str, Any] | None,
    chosen_on: dict[str, Any] | None = None,
) -> tuple[Check, ...]:
    """Return each condition with its outcome, from `scorecard.comparison` and `scorecard.control_figures`.

    A gain must be a gain: a version that is no better on the held-out pairs never passes, whatever the draws say, and
    below LEAST_PROMPTS held-out prompts none passes at all. `chosen_on` names a search that has chosen the recipe on
    these prompts, if one has: then they do not speak for a version, unless the current one has the same recipe.
    """
    checks = [_gain(rule, comparison)]
    if (prompts := comparison["prompts"]) < LEAST_PROMPTS:
        checks.append(Check("prompts", False, f"Too few held-out prompts ({prompts}; the rule needs {LEAST_PROMPTS})."))
    if chosen_on is not None:
        checks.append(_chosen(chosen_on))
    if rule.keep_controls and controls is not None:
        checks.append(_controls(controls))
    if rule.max_domain_loss is not None:
        checks.append(_domains(rule.max_domain_loss, comparison))
    return tuple(checks)


def _gain(rule: Rule, comparison: dict[str, Any]) -> Check:
    difference, probability = comparison["difference"], probability_of_gain(comparison, rule.min_gain)
    passed = difference > 0 and difference >= rule.min_gain and probability >= rule.min_probability
    by = f" by at least {rule.min_gain:g}" if rule.min_gain else ""
    return Check(
        "gain",
        passed,
        f"Held-out accuracy {comparison['candidate_accuracy']:.3f} against {comparison['current_accuracy']:.3f} on "
        f"{comparison['n']} pairs of {comparison['prompts']} prompts; better{by} with probability {probability:.3f}, "
        f"{rule.min_probability:g} is asked.",
    )


def _chosen(chosen_on: dict[str, Any]) -> Check:
    said = (
        f"Recipe search {chosen_on['search']} compared {chosen_on['trials']} recipes, this one among them, on "
        f"{chosen_on['prompts']} of these held-out prompts"
    )
    if chosen_on["same_recipe"]:
        return Check("search", True, f"{said}; the current version has the same recipe.")
    return Check("search", False, f"{said}, so they favour it; promote it by hand if you trust the gain.")


def _controls(controls: dict[str, Any]) -> Check:
    lost = controls["lost"]
    named = ", ".join(lost[:NAMED]) + (", …" if len(lost) > NAMED else "")
    if lost:
        return Check("controls", False, f"{len(lost)} of {controls['n']} control pairs are lost: {named}.")
    if not controls["n"]:
        return Check("controls", True, "No control pair can tell: every one was trained on.")
    return Check("controls", True, f"No control pair of {controls['n']} is lost.")


def _domains(limit: float, comparison: dict[str, Any]) -> Check:
    told = [domain for domain in comparison["domains"] if domain["n"] >= LEAST_DOMAIN_PAIRS]
    worse = sorted((domain for domain in told if domain["difference"] < -limit), key=lambda each: each["difference"])
    if worse:
        named = ", ".join(f"{each['name'] or 'no domain'} {each['difference']:+.3f}" for each in worse[:NAMED])
        return Check("domains", False, f"Worse by more than {limit:g} in {named}.")
    return Check("domains", True, f"None of {len(told)} domains is worse by more than {limit:g}.")
