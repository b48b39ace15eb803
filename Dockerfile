# callstream's image: the locked environment on a slim Python, nothing else.
#   docker build -t callstream .
#   docker run --rm callstream --help
# Pin the base by digest for a release: --build-arg PYTHON_IMAGE=python:3.13-slim-trixie@sha256:…
ARG PYTHON_IMAGE=python:3.13-slim-trixie

FROM ${PYTHON_IMAGE} AS build
ARG UV_VERSION=0.13.9
ENV UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy \
    UV_NO_CACHE=1 \
    UV_PROJECT_ENVIRONMENT=/opt/callstream \
    UV_PYTHON_DOWNLOADS=never
# uv lives in an environment of its own: a distribution's Python refuses installs beside its packages.
RUN python -m venv /opt/uv && /opt/uv/bin/pip install --no-cache-dir uv==${UV_VERSION}
WORKDIR /src
# Dependencies first: this layer changes only with the lock.
COPY pyproject.toml uv.lock ./
RUN /opt/uv/bin/uv sync --locked --no-dev --no-install-project
COPY README.md LICENSE ./
COPY streams ./streams
RUN /opt/uv/bin/uv sync --locked --no-dev --no-editable

FROM ${PYTHON_IMAGE}
ARG VERSION=unreleased
ARG REVISION=unknown
LABEL org.opencontainers.image.title="callstream" \
      org.opencontainers.image.description="Call intents from Kafka, in batches to Truecaller, outcomes back to Kafka" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /opt/callstream /opt/callstream
ENV PATH=/opt/callstream/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
# The root may be read-only; /tmp is the one place that is written to.
WORKDIR /tmp
USER 65532:65532
EXPOSE 9464
# No HEALTHCHECK: orchestrators ask /livez and /readyz on the metrics port, and a slim image carries no client to ask with.
# The worker is process 1 and gets the signal itself: it drains, commits and leaves.
STOPSIGNAL SIGTERM
ENTRYPOINT ["callstream"]
CMD ["worker"]
