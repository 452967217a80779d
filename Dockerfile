# syntax=docker/dockerfile:1
# One small image for both shapes: the sidecar beside a model server, and the ingress before many.
#
#   docker build --tag tollgate:0.1.0 .
#
# The version of Rust and every dependency are pinned. Who wants the same image from the same source, bit
# for bit, also names the base by its digest (--build-arg RUST=rust@sha256:…), and the time of the commit
# (--build-arg SOURCE_DATE_EPOCH="$(git log -1 --format=%ct)").
ARG RUST=rust:1.95.0-slim-bookworm

FROM ${RUST} AS build
# The allocator is C, and built by make.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates make \
 && rm -rf /var/lib/apt/lists/*
RUN rustup target add wasm32-unknown-unknown
WORKDIR /source
COPY . .
# With the components in it, and laid out by the profile that is in the repository.
RUN cargo xtask release \
 && install -D target/shipped/tollgate /image/usr/local/bin/tollgate \
 && strip --strip-debug /image/usr/local/bin/tollgate
# All that the binary needs beside itself: the libraries that it is linked to, who it runs as, how names are
# looked up, and the authorities of the web's certificates for those who name that file in `tls.ca`.
# Without such a name it trusts those that are built in.
RUN for file in $(ldd /image/usr/local/bin/tollgate | grep -o '/[^ ]*'); do install -D "$file" "/image$file"; done \
 && mkdir -p /image/etc/tollgate \
 && echo 'tollgate:x:65532:65532:tollgate:/nonexistent:/sbin/nologin' > /image/etc/passwd \
 && echo 'tollgate:x:65532:' > /image/etc/group \
 && echo 'hosts: files dns' > /image/etc/nsswitch.conf \
 && install -D --mode=644 /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ca-certificates.crt \
 && install -D --mode=644 config/sidecar.yaml /image/etc/tollgate/tollgate.yaml \
 && install -D --mode=644 LICENSE /image/usr/share/doc/tollgate/LICENSE
ARG SOURCE_DATE_EPOCH=0
RUN find /image -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +

# No shell, no package manager, no other program.
FROM scratch
LABEL org.opencontainers.image.title="tollgate" \
      org.opencontainers.image.description="An edge proxy for model servers" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /image/ /
# Nothing is written: the root file system may be read-only. A configuration that names a
# `cache-dir` for compiled components needs a writable volume there.
USER 65532:65532
EXPOSE 8080 8443 9901
# SIGTERM drains: see `drain` in the configuration.
STOPSIGNAL SIGTERM
# Where nothing else probes: Kubernetes does not look at this. It asks the admin listener on the loopback
# address; a configuration without one, or with another port, wants another command, or none.
HEALTHCHECK --interval=10s --timeout=3s --start-period=120s \
  CMD ["tollgate", "health"]
ENTRYPOINT ["tollgate"]
CMD ["run", "/etc/tollgate/tollgate.yaml"]
