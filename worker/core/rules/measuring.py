"""Measure responses: each text is taken apart once, for all properties, and the prompt once for all its responses."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from worker.core.rules.properties import PROPERTIES
from worker.core.rules.texts import Answer, TakenApart


def measure(pairs: Iterable[tuple[str, str]], names: Sequence[str]) -> NDArray[np.float64]:
    """Return the properties `names` of (prompt, response) texts (n, p); responses to one prompt follow one another."""
    measures = [PROPERTIES[name].measure for name in names]
    prompt = TakenApart("")
    rows = []
    for asked, response in pairs:
        if asked != prompt.text:
            prompt = TakenApart(asked)
        answer = Answer(response, prompt)
        rows.append([measured(answer) for measured in measures])
    return np.array(rows, dtype=np.float64).reshape(len(rows), len(names))
