# A Stoker worker. Build it from the repository's root: `docker build -t stoker .`
# Mount or copy your application beside the examples and name it with STOKER_APP=module:pipeline.
FROM python:3.13.9-slim

ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

WORKDIR /app
COPY . .
RUN pip install -c constraints.txt '.[registry]' \
    && useradd --create-home --uid 10001 stoker \
    && chown stoker /app

USER stoker
# Exec form: the worker is process 1 and receives SIGTERM itself, so that it can finish its jobs.
ENTRYPOINT ["stoker"]
CMD ["worker"]
