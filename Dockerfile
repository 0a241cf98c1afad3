# qrcast as an image: the server and nothing else. Used by fly.toml, railway.json and the files in deploy/.
#
# All stages are the same Debian (13, trixie), for a program needs at least the glibc it was linked with.

# Nothing has to be installed: SQLite, ring and jemalloc need a C compiler and make, which this image has (its slim one has no make).
FROM rust:1.95.0-trixie AS chef
RUN cargo install cargo-chef --locked --version 0.1.78
WORKDIR /build

# What has to be compiled beside the program itself.
FROM chef AS plan
COPY . .
RUN cargo chef prepare --recipe-path recipe.json

# The dependencies first, so that they stay a layer until Cargo.lock changes. Cache mounts would do that too, but Railway
# takes only those whose id holds the id of one's own service (docs.railway.com/builds/dockerfiles, "Cache mounts").
# Default features only: no other build may be shipped, for it would not check WhatsApp's certificate.
FROM chef AS build
COPY --from=plan /build/recipe.json recipe.json
# waproto 0.7 writes a file that cargo then watches, later than cargo noted the time: without `touch` cargo takes it for a change, and
# compiles the WhatsApp client twice.
RUN cargo chef cook --profile dist --locked --package qrcast --features otlp --bin qrcast --recipe-path recipe.json \
 && find target -name whatsapp.local.desc -exec touch -d @0 {} +
COPY . .
RUN cargo build --profile dist --locked --package qrcast --features otlp --bin qrcast \
 && mkdir /data

# Distroless cc: glibc, libgcc and root certificates, smaller than debian-slim, and no shell or package manager to misuse or to
# patch. Its tags name a Debian, not a version: pin it by digest where builds must repeat to the byte.
FROM gcr.io/distroless/cc-debian13:nonroot

COPY --from=build /build/target/dist/qrcast /usr/local/bin/qrcast
# 65532 is `nonroot`, by number because Kubernetes' runAsNonRoot cannot read names. A new named volume on /data takes its
# owner from here. There is no volume instruction: Railway refuses a Dockerfile that has one ("docker VOLUME at Line … is
# not supported, use Railway Volumes"), and without one a forgotten `-v` shows at once, not after a year of anonymous volumes.
COPY --from=build --chown=65532:65532 /data /data
USER 65532:65532

# `::` takes IPv4 too. A kernel without IPv6 needs HOST=0.0.0.0.
ENV HOST=:: PORT=3000 APP_ENV=production DATA_DIR=/data
EXPOSE 3000

# Asks the server inside on PORT, without curl; exec form, for there is no shell
# (docs.docker.com/reference/dockerfile, "HEALTHCHECK"). Fly.io and Railway do not read it: they have checks of their own.
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s --retries=3 CMD ["/usr/local/bin/qrcast", "health"]

# Exec form, so that qrcast is process 1 and gets the signal (docs.docker.com/reference/dockerfile, "ENTRYPOINT").
# Stopping takes up to 22 s; docker waits 10 s unless the container was made with `docker run --stop-timeout 30`.
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/qrcast"]
