# syntax=docker/dockerfile:1

# ── build ───────────────────────────────────────────────────────────────────────────────────────────────────────────
# The slim image has the C compiler that aws-lc-sys (cryptography) and SQLite need; neither needs cmake on Linux.
FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
COPY . .
# The caches outlive the image, so a change of the code does not rebuild all dependencies.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin tokengate && cp target/release/tokengate /tokengate

# ── run ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
# Same Debian as above: the binary needs its C library and nothing else.
FROM debian:bookworm-slim
RUN groupadd --system --gid 10001 tokengate \
    && useradd --system --uid 10001 --gid tokengate --no-create-home --shell /usr/sbin/nologin tokengate \
    && install -d -o tokengate -g tokengate -m 0700 /var/lib/tokengate
COPY --from=build /tokengate /usr/local/bin/tokengate

# Contains gateway.toml and the files that it names by relative paths: the store, its key file, certificates.
VOLUME /var/lib/tokengate
WORKDIR /var/lib/tokengate
USER 10001:10001

# In a container listen on 0.0.0.0, above port 1024. The internal listener can stay on 127.0.0.1: the health check below runs inside.
EXPOSE 8443
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["tokengate", "health"]
ENTRYPOINT ["tokengate"]
CMD ["serve"]
