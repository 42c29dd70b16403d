# The harness with a pinned set of packages: `docker build -t sabench .`, then
# `mkdir -p runs && docker run --rm -v "$PWD/runs:/runs" sabench eval --model hpss --task instrument --split mini --output /runs`.
# For a GPU: `docker build --build-arg INDEX=https://download.pytorch.org/whl/cu130 -t sabench .` and `docker run --gpus all …`.
ARG PYTHON=3.11

FROM python:${PYTHON}-slim-bookworm AS build
ARG INDEX=https://download.pytorch.org/whl/cpu
ARG EXTRAS=
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /source
RUN python -m venv /opt/sabench
COPY constraints.txt /source/
# torch first: its layer is the largest, and stays when the harness changes
RUN torch=$(grep '^torch==' constraints.txt) && /opt/sabench/bin/pip install --index-url "${INDEX}" "${torch}"
COPY pyproject.toml setup.cfg MANIFEST.in README.md LICENSE CHANGELOG.md CITATION.cff tasks.py /source/
COPY sam_audio_bench /source/sam_audio_bench
RUN /opt/sabench/bin/pip install -c constraints.txt ".${EXTRAS:+[$EXTRAS]}"

FROM python:${PYTHON}-slim-bookworm
COPY --from=build /opt/sabench /opt/sabench
RUN useradd --create-home --uid 1000 sabench && mkdir /runs /cache && chown sabench /runs /cache
ENV PATH=/opt/sabench/bin:$PATH SABENCH_CACHE=/cache HF_HOME=/cache/huggingface
USER 1000
WORKDIR /runs
VOLUME ["/runs", "/cache"]
ENTRYPOINT ["sabench"]
CMD ["--help"]
