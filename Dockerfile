# segtricks with the photographs and weights of the demo, as a user without rights:
#
#   docker build -t segtricks --build-arg TORCH_BACKEND=cpu .
#   docker run --rm --shm-size=1g -v segtricks-cache:/cache -v "$PWD:/mnt" -u "$(id -u)" segtricks fit --config demo
#
# TORCH_BACKEND is a name that uv knows: cpu, cu130, rocm6.4 and so on; left out, the build of torch that the index has, for
# CUDA. VERSION is the package's version, since the image is built without git.
FROM python:3.13-slim

ARG TORCH_BACKEND=""
ARG VERSION="0.0"

ENV PIP_NO_CACHE_DIR=1 \
    UV_NO_CACHE=1 \
    UV_SYSTEM_PYTHON=1

RUN pip install uv==0.13.9

WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY segtricks segtricks
# The tested versions of pyproject.toml are constraints here. Bytecode is made now: the user cannot write it later.
RUN SETUPTOOLS_SCM_PRETEND_VERSION="$VERSION" \
    uv pip install --compile-bytecode ${TORCH_BACKEND:+"--torch-backend=$TORCH_BACKEND"} ".[examples,weights]"

# Any user of `docker run -u` may write to these, and has a name, which torch asks for.
RUN useradd --uid 1000 --no-create-home segtricks \
    && mkdir /cache \
    && chmod 1777 /cache /mnt
ENV HOME=/cache \
    LOGNAME=segtricks \
    XDG_CACHE_HOME=/cache
USER 1000
WORKDIR /mnt
VOLUME ["/cache"]

ENTRYPOINT ["segtricks"]
CMD ["--help"]
