# syntax=docker/dockerfile:1
# One small image for both shapes: the sidecar beside a model server, and the ingress before many.

FROM rust:1.95-slim-bookworm AS build
WORKDIR /source
RUN rustup target add wasm32-unknown-unknown \
 # The allocator is C, and built by make.
 && apt-get update && apt-get install --yes --no-install-recommends make \
 && rm -rf /var/lib/apt/lists/*
COPY . .
# The components come first: the binary carries them.
RUN cargo xtask components --bundled \
 && cargo build --release --locked --package tollgate \
 && strip --strip-debug --output-file=/tollgate target/release/tollgate

FROM debian:bookworm-slim
COPY --from=build /tollgate /usr/local/bin/tollgate
COPY --from=build /source/config/sidecar.yaml /etc/tollgate/tollgate.yaml
# Nothing is written: the root file system may be read-only. A configuration that names a
# `cache-dir` for compiled components needs a writable volume there.
USER 65532:65532
EXPOSE 8080 8443 9901
# SIGTERM drains: see `drain` in the configuration.
STOPSIGNAL SIGTERM
ENTRYPOINT ["tollgate"]
CMD ["run", "/etc/tollgate/tollgate.yaml"]
