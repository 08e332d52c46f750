# crrn without an installation; PyTorch for CPUs, or with CUDA by --build-arg TORCH_INDEX=https://pypi.org/simple
#   docker build -t crrn .
#   docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/photos" crrn photo.jpg -o clean       (with CUDA: --gpus all)
#   docker run --rm -p 127.0.0.1:7860:7860 --entrypoint crrn crrn demo host=0.0.0.0 auth=user:password
ARG BASE=python:3.12-slim-bookworm

FROM ${BASE} AS build
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN python -m venv /opt/crrn
COPY pyproject.toml constraints.txt README.md LICENSE /src/
COPY conf /src/conf
COPY src /src/src
# Of one release, pip prefers the wheel with a label as +cpu to that of PyPI, which brings the libraries of CUDA.
RUN /opt/crrn/bin/pip install --no-cache-dir --disable-pip-version-check --no-compile \
    --extra-index-url "${TORCH_INDEX}" --constraint /src/constraints.txt "/src[web]"

FROM ${BASE}
COPY --from=build /opt/crrn /opt/crrn
RUN useradd --uid 1000 --create-home crrn && mkdir /photos && chown crrn /photos
ENV PATH=/opt/crrn/bin:$PATH PYTHONUNBUFFERED=1
USER crrn
WORKDIR /photos
EXPOSE 7860
ENTRYPOINT ["crrn", "remove"]
CMD ["--help"]
