# The service for a GPU node:
#
#   docker build -t siglip2-embeddings .
#   docker run --gpus all -p 8091:8091 -v siglip2:/data siglip2-embeddings
#
# The engine for the machine's GPU is built at the first start and kept in /data. Every step is
# a script under docker/, which CI also runs outside Docker.

FROM rust:1.95-bookworm AS build
COPY docker/install-build-tools /docker/
RUN /docker/install-build-tools
WORKDIR /src
COPY . .
RUN docker/build /out

FROM nvidia/cuda:13.0.2-base-ubuntu24.04
COPY docker/install-libraries docker/install-runtime docker/libraries.txt /docker/
RUN /docker/install-runtime && /docker/install-libraries /opt/nvidia
COPY --from=build /out/ /usr/local/bin/
COPY docker/entrypoint docker/healthy /usr/local/bin/
COPY tools/gpu-check /usr/local/share/siglip2/tools/
RUN useradd --uid 10001 --home-dir /data --shell /usr/sbin/nologin siglip2 \
    && mkdir /data && chown siglip2:siglip2 /data
# By number: where only users other than root may run, a name proves nothing.
USER 10001:10001
WORKDIR /data
VOLUME /data
ENV API_PORT=8091 \
    HF_HOME=/data/models \
    ENGINES=/data/engines \
    TENSORRT_LIB_DIR=/opt/nvidia \
    NVRTC_LIB_DIR=/opt/nvidia \
    NVJPEG_LIB_DIR=/opt/nvidia
EXPOSE 8091
# The first start downloads the model and builds its engine.
HEALTHCHECK --interval=10s --timeout=5s --start-period=15m --retries=3 CMD ["healthy"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["entrypoint"]
