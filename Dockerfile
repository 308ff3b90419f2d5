# syntax=docker/dockerfile:1
# For CPU:  docker build -t cirray:0.1.0 .
# For GPUs: docker build -t cirray:0.1.0-gpu --build-arg VARIANT=-gpu .
ARG VARIANT=""

# The environment holds exactly the packages of requirements-runtime.lock; the base image's own packages are not
# visible. Only wheels are installed, so the image needs no compiler.
FROM rayproject/ray:2.60.0-py311${VARIANT} AS build
USER root
COPY requirements-runtime.lock /build/
RUN pip install --no-cache-dir uv==0.9.26 \
 && uv venv --python "$(command -v python)" /opt/venv \
 && uv pip install --python /opt/venv/bin/python --only-binary :all: --no-cache --compile-bytecode -r /build/requirements-runtime.lock

FROM rayproject/ray:2.60.0-py311${VARIANT}
COPY --from=build /opt/venv /opt/venv
COPY platform /app/platform
COPY jobs /app/jobs
COPY serve /app/serve
COPY tuning /app/tuning
# PATH selects the environment's own `ray`; PYTHONPATH makes cirray, serve, tuning and jobs importable from anywhere.
ENV PATH=/opt/venv/bin:$PATH \
    VIRTUAL_ENV=/opt/venv \
    PYTHONPATH=/app/platform:/app \
    PYTHONDONTWRITEBYTECODE=1
# Keep downloaded weights on a volume: set HF_HOME, as k8s/base/ray/pod.yaml does.
WORKDIR /app
USER 1000:100
