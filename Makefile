# Each target sets up what it needs (setup.sh): .venv, packages, for `make test` a browser too.

DATA ?= ../shared/data

.PHONY: help demo test lint format messages bench bench-peer

help:
	@echo "make demo     run everything on this machine with the demo project (PORT=8000)"
	@echo "make test     run every test (PYTEST_ARGS=\"-k name\" for some, TEST_PROCESSES=0 for one at a time)"
	@echo "make lint     check style, types, templates, import contracts and migrations"
	@echo "make format   format code and templates"
	@echo "make messages bring the catalogues of translations up to date with the texts, and compile them"
	@echo "make bench    run the benchmarks (DATA=folder of the UKPConvArg1 files)"
	@echo "make bench-peer  measure Label Studio beside ours (the first time it installs 1 GB into var/peers)"

demo:
	@./setup.sh embedded,worker
	@exec .venv/bin/python -m config.demo

# A test has one core: threads of torch that wait for each other in turns cost more than the work.
test:
	@./setup.sh embedded,worker,test browser gettext
	@OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} .venv/bin/python -m pytest -n $(or $(TEST_PROCESSES),3) --dist loadgroup $(PYTEST_ARGS)

lint:
	@./setup.sh embedded,worker,test,lint
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy apps config worker client/src/tiebreak
	.venv/bin/djlint --quiet --check --lint templates
	.venv/bin/lint-imports
	.venv/bin/python manage.py makemigrations --check --dry-run

format:
	@./setup.sh embedded,worker,test,lint
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .
	.venv/bin/djlint --quiet --reformat templates

messages:
	@./setup.sh embedded,worker gettext
	@.venv/bin/python -m config.messages

bench:
	@./setup.sh embedded,worker,test
	.venv/bin/python -m benchmarks.real_labels --data $(DATA)
	.venv/bin/python -m benchmarks.learning --data $(DATA)
	.venv/bin/python -m benchmarks.head
	.venv/bin/python -m benchmarks.rest
	.venv/bin/python -m benchmarks.api
	.venv/bin/python -m benchmarks.imports
	.venv/bin/python -m benchmarks.queue
	.venv/bin/python -m benchmarks.pages
	.venv/bin/python -m benchmarks.webhooks
	.venv/bin/python -m benchmarks.serving
	.venv/bin/python -m benchmarks.quality
	.venv/bin/python -m benchmarks.evaluation
	.venv/bin/python -m benchmarks.exports
	.venv/bin/python -m benchmarks.training --data $(DATA)
	.venv/bin/python -m benchmarks.gpu
	.venv/bin/python -m benchmarks.rules_llm
	.venv/bin/python -m benchmarks.rules --data $(DATA)

bench-peer:
	@./setup.sh embedded,worker,test
	.venv/bin/python -m benchmarks.label_studio
	.venv/bin/python -m benchmarks.peer_data
