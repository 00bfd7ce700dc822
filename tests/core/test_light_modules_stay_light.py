"""Web code imports recipes, metrics and texts; that must never load a tensor library."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {"torch", "transformers", "safetensors", "tokenizers", "sentence_transformers", "django", "celery"}


@pytest.mark.parametrize(
    "module",
    [
        "worker.core.conversation",
        "worker.core.training.recipe",
        "worker.core.backbone_sources",
        "worker.core.metrics",
        "worker.core.promotion",
        "worker.core.reward_benchmarks",
        "worker.core.scorecard",
        "worker.core.training.model_card",
        "worker.core.pairs",
        "worker.core.annotator_figures",
        "worker.core.dialects",
        "worker.core.shaping",
        "worker.core.rule_prompts",
        "worker.core.llm.openai_backend",
    ],
)
def test_a_light_module_loads_no_heavy_library(module: str) -> None:
    code = f"import sys, {module}; print(' '.join(name for name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert module in loaded
    assert loaded & HEAVY == set()
