# A Stoker worker. Build it from the repository's root: `docker build -t stoker .`
# Mount or copy your application beside the examples and name it with STOKER_APP=module:pipeline.

# What pip builds stays in this stage: the image itself gets the finished environment only.
FROM python:3.13.9-slim AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY pyproject.toml constraints.txt README.md ./
COPY schemas schemas
COPY topology topology
COPY databases databases
COPY producers producers
COPY consumers consumers
COPY operations operations
COPY testing testing
RUN python -m venv /opt/stoker && /opt/stoker/bin/pip install -c constraints.txt '.[registry,metrics]'

FROM python:3.13.9-slim
ENV PYTHONUNBUFFERED=1 PATH=/opt/stoker/bin:$PATH
RUN apt-get update \
    && apt-get install --yes --no-install-recommends tini \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 10001 stoker \
    && install --directory --owner stoker /app /monitoring /index
WORKDIR /app
COPY --from=build /opt/stoker /opt/stoker
COPY examples examples

USER stoker
# tini is process 1: it passes SIGTERM on to the worker, which finishes its jobs, and collects the orphans that jobs leave.
ENTRYPOINT ["tini", "--", "stoker"]
CMD ["worker"]
