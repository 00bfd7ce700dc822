"""People whose habits are known: what a report about them must find, and what it must not."""

from dataclasses import dataclass, field

import numpy as np

HABITS = ("honest", "first", "longer", "random")


@dataclass
class Simulated:
    """Answers of people to pairs, canonical; `habits` by person, `truth` and `second_is_longer` by pair."""

    pair: np.ndarray
    person: np.ndarray
    preference: np.ndarray
    swapped: np.ndarray
    truth: np.ndarray
    second_is_longer: np.ndarray
    habits: list[str] = field(default_factory=list)


def simulate(*, seed: int, habits: list[str], pairs: int = 300, each: int = 4, skill: float = 0.85) -> Simulated:
    """Let `each` people answer every pair; which response is longer says nothing about which one is better.

    The honest find the better side with probability `skill`. The others follow their habit four times of five, and are
    honest else; who answers at random does so always.
    """
    rng = np.random.default_rng(seed)
    truth, longer = rng.choice([-1, 1], pairs), rng.random(pairs) < 0.5
    person = np.concatenate([rng.permutation(len(habits))[:each] for _ in range(pairs)])
    pair = np.repeat(np.arange(pairs), each)
    swapped = rng.random(len(pair)) < 0.5
    honest = truth[pair] * np.where(rng.random(len(pair)) < skill, 1, -1)
    follows = {
        "honest": honest,
        "first": np.where(swapped, 1, -1),
        "longer": np.where(longer[pair], 1, -1),
        "random": rng.choice([-1, 1], len(pair)),
    }
    habit = np.array([HABITS.index(name) for name in habits])[person]
    followed = np.choose(habit, [follows[name] for name in HABITS])
    side = np.where(rng.random(len(pair)) < 0.8, followed, honest)
    side = np.where(habit == HABITS.index("random"), follows["random"], side)
    strength = rng.choice([1, 2, 3], len(pair), p=[0.5, 0.35, 0.15])
    return Simulated(pair, person, side * strength, swapped, truth, longer, habits)
