# Two images. `web` has no torch: web, cpu worker, beat and migrations run in it. `worker` has torch: gpu workers run in it.
#
#   docker build --target web -t tiebreak-web .
#   docker build --target worker -t tiebreak-worker .
#
# PyPI's torch for Linux needs CUDA's libraries, several GB. For machines without a GPU, give the address of PyTorch's index
# of CPU wheels: --build-arg TORCH_INDEX=…

FROM python:3.12-slim AS base
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PATH=/venv/bin:$PATH TIEBREAK_VAR=/var/lib/tiebreak
WORKDIR /app

FROM base AS web-packages
RUN python -m venv /venv
COPY pyproject.toml constraints.txt README.md ./
RUN pip install -c constraints.txt .

FROM web-packages AS worker-packages
ARG TORCH_INDEX=""
RUN pip install -c constraints.txt ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} ".[worker]"

FROM base AS app
# What is written at run time belongs to the account of the processes; named volumes take this over when they are new.
RUN useradd --system --home-dir /var/lib/tiebreak tiebreak \
    && install -d -o tiebreak -g tiebreak /var/lib/tiebreak /var/lib/tiebreak/artifacts /var/lib/tiebreak/runs /var/lib/tiebreak/cache
COPY . .

FROM app AS worker
COPY --from=worker-packages /venv /venv
USER tiebreak
CMD ["celery", "-A", "config.celery", "worker", "-Q", "gpu", "-n", "gpu@%h", "-c", "1"]

FROM app AS web
COPY --from=web-packages /venv /venv
# Settings want a key and a database; neither is used here and neither stays in the image.
RUN SECRET_KEY=unused DATABASE_URL=postgres://unused/unused python manage.py collectstatic --no-input --verbosity 0
USER tiebreak
EXPOSE 8000
ENV GUNICORN_CMD_ARGS="--bind 0.0.0.0:8000 --worker-class gthread --workers 2 --threads 4 --worker-tmp-dir /dev/shm --no-control-socket --access-logfile -"
# ALLOWED_HOSTS must name 127.0.0.1 for this; docker-compose.yml adds it.
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/livez', timeout=4)"]
CMD ["gunicorn", "config.wsgi"]
