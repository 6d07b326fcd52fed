# Two images: `docker build --target api .` holds no PyTorch, `docker build --target worker .` does.

FROM python:3.11-slim-trixie AS source
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
RUN python -m venv /opt/expunge
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY migrations migrations
COPY service service
COPY worker worker

FROM source AS api-installed
RUN /opt/expunge/bin/pip install --constraint constraints.txt ".[s3]"

# The Linux wheel of PyTorch brings CUDA's libraries; the host gives the driver and NVIDIA's container toolkit.
FROM source AS worker-installed
RUN /opt/expunge/bin/pip install --constraint constraints.txt ".[s3,worker]"

FROM python:3.11-slim-trixie AS runtime
# A named volume takes owner and mode of the folder it first covers. /scratch holds uploads while they are read.
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /scratch --shell /usr/sbin/nologin expunge \
    && install --directory --owner expunge --group expunge --mode 0700 /keys /keys-api /scratch
ENV PATH=/opt/expunge/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    TMPDIR=/scratch MPLCONFIGDIR=/scratch/matplotlib \
    EXPUNGE_HOME=/scratch EXPUNGE_KEYS=/keys EXPUNGE_HOST=0.0.0.0
WORKDIR /scratch
USER 10001

FROM runtime AS worker
COPY --from=worker-installed /opt/expunge /opt/expunge
CMD ["expunge-worker", "run"]

FROM runtime AS api
COPY --from=api-installed /opt/expunge /opt/expunge
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/livez', timeout=2)"]
CMD ["expunge", "api"]
