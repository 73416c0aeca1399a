# A static binary in an image that has nothing else but certificates and a user: no shell, no libc, no package manager.
#
#   docker build -t tollgate .
#   docker run --rm -p 127.0.0.1:8000:8000 tollgate --capacity 20

# Alpine's Rust links musl, and links it statically.
FROM rust:1.95-alpine AS build
# For ring, the cryptography of TLS, and jemalloc. Not pinned: Alpine drops old versions, and none of this reaches the image.
# hadolint ignore=DL3018
RUN apk add --no-cache gcc make musl-dev
WORKDIR /source
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/source/target \
    cargo build --release --locked --package tollgate-server && cp target/release/tollgate /tollgate

FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /tollgate /usr/local/bin/tollgate
# Within a container, the machine's own address is nobody's.
ENV TOLLGATE_LISTEN=0.0.0.0:8000
EXPOSE 8000
# nonroot, by number, so that an orchestrator can see that it is not root.
USER 65532:65532
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s --retries=3 CMD ["/usr/local/bin/tollgate", "health"]
ENTRYPOINT ["/usr/local/bin/tollgate"]
