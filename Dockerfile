# tracewright's own images, one target each: exporter, dashboard, mlflow, trainer. docker-compose.yml builds and starts
# them. requirements.lock pins the versions. To use another base with Python 3.11 and venv: --build-arg BASE=...
ARG BASE=docker.io/library/python:3.11.17-slim-bookworm

FROM ${BASE} AS base
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/app \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PYTHONUTF8=1 \
    HOME=/tmp \
    USER=tracewright
# The project's folder is mounted here; the image's own code is in /app.
WORKDIR /project

# Writes the requirements of each extra in pyproject.toml to a file of its own.
FROM base AS build
WORKDIR /build
RUN python3 -m venv /opt/venv
COPY pyproject.toml requirements.lock ./
RUN python -c "import pathlib, tomllib; \
project = tomllib.loads(pathlib.Path('pyproject.toml').read_text())['project']; \
parts = {'core': project['dependencies'], **project['optional-dependencies']}; \
[pathlib.Path(f'{name}.txt').write_text('\n'.join(wanted)) for name, wanted in parts.items()]"
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

FROM build AS build-exporter
RUN pip install --constraint requirements.lock --requirement monitoring.txt

FROM build AS build-dashboard
RUN pip install --constraint requirements.lock --requirement core.txt --requirement dashboard.txt

FROM build AS build-mlflow
RUN pip install --constraint requirements.lock --requirement server.txt

FROM build AS build-trainer
RUN pip install --constraint requirements.lock --requirement core.txt --requirement pipeline.txt

FROM base AS exporter
COPY --from=build-exporter /opt/venv /opt/venv
COPY pipeline /app/pipeline
COPY monitoring /app/monitoring
WORKDIR /app
USER 10001:10001
EXPOSE 9108
CMD ["python", "-m", "monitoring", "--host", "0.0.0.0", "--root", "/project"]

FROM base AS dashboard
COPY --from=build-dashboard /opt/venv /opt/venv
COPY pipeline /app/pipeline
COPY dashboard /app/dashboard
COPY .streamlit /app/.streamlit
ENV TRACEWRIGHT_PROJECT=/project
WORKDIR /app
USER 10001:10001
EXPOSE 8501
CMD ["python", "-m", "dashboard", "--address", "0.0.0.0"]

FROM base AS mlflow
COPY --from=build-mlflow /opt/venv /opt/venv
ENV MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false MLFLOW_DISABLE_TELEMETRY=true
USER 10001:10001
EXPOSE 5000
CMD ["mlflow", "server", "--host", "0.0.0.0"]

# The code comes from the mounted project. Skia loads two OpenGL libraries, and DVC reads the commit through git.
FROM base AS trainer
RUN apt-get update && apt-get install --yes --no-install-recommends git libegl1 libgl1 && rm -rf /var/lib/apt/lists/*
COPY --from=build-trainer /opt/venv /opt/venv
ENV DVC_NO_ANALYTICS=1 DVC_SITE_CACHE_DIR=/tmp/dvc MLFLOW_DISABLE_TELEMETRY=true
USER 10001:10001
CMD ["dvc", "repro", "report"]
