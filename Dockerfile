# A static binary in an image with certificates and a user, and without a shell, libc or package manager.
#
#   docker build -t tollgate .
#   docker run --rm -p 127.0.0.1:8000:8000 tollgate --capacity 20

# Alpine's Rust links musl statically.
FROM rust:1.95-alpine AS build
# For ring, the provider of cryptography, and jemalloc. Not pinned: Alpine drops old versions, and none of
# this reaches the image.
# hadolint ignore=DL3018
RUN apk add --no-cache gcc make musl-dev
WORKDIR /source
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/source/target \
    cargo build --release --locked --package tollgate-server && cp target/release/tollgate /tollgate

FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /tollgate /usr/local/bin/tollgate
# Loopback would be unreachable from outside of the container. The admin API needs TOLLGATE_ADMIN_TOKEN or
# TOLLGATE_ADMIN_LISTEN; with the latter and an upstream, TOLLGATE_HEALTH_URL is the health check's URL there.
ENV TOLLGATE_LISTEN=0.0.0.0:8000
EXPOSE 8000
# nonroot, by number, so that an orchestrator can verify that it is not root.
USER 65532:65532
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s --retries=3 CMD ["/usr/local/bin/tollgate", "health"]
ENTRYPOINT ["/usr/local/bin/tollgate"]
