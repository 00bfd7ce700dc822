"""Public benchmarks of reward models, each read and scored by its own rules; no tensor library.

What a model does with a text is not part of it: a benchmark turns rows into items, and the scores of their responses
into figures.
"""

from worker.core.reward_benchmarks import judgebench, reward_bench, reward_bench_2, rm_bench
from worker.core.reward_benchmarks.items import Benchmark, BenchmarkError, Item

BENCHMARKS: dict[str, Benchmark] = {
    module.BENCHMARK.name: module.BENCHMARK for module in (reward_bench, reward_bench_2, rm_bench, judgebench)
}

__all__ = ["BENCHMARKS", "Benchmark", "BenchmarkError", "Item"]
