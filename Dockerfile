# All parts of Trainyard in one image; compose.yaml says which part a container runs.
ARG BASE_IMAGE=python:3.11-slim
FROM ${BASE_IMAGE}

RUN useradd --create-home --uid 10000 trainyard \
    && install --directory --owner trainyard --group trainyard --mode 700 /var/lib/trainyard

WORKDIR /opt/trainyard
COPY package.json package-lock.json ./
COPY requirements requirements
COPY config/__init__.py config/
COPY config/server/__init__.py config/server/install.py config/server/
RUN python3 -m config.server.install --packages \
    && .venv/bin/python -m compileall -q .venv \
    && rm -rf /root/.cache /root/.npm
COPY . .
RUN python3 -m config.server.install && .venv/bin/python -m compileall -q -x '/\.venv/' .

ENV PATH=/opt/trainyard/.venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    TRAINYARD_HOME=/var/lib/trainyard \
    TRAINYARD_BIND=0.0.0.0
VOLUME /var/lib/trainyard
USER trainyard
CMD ["python", "-m", "config.server.part", "web"]
