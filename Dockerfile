# totemd in a container; docs/service.md tells how to run it. Two stages: what only the build needs stays in the first.
#
# BASE is any Debian from 12 on, or a derivative: an image with apt and Python 3.11 or newer in its archive.
ARG BASE=docker.io/library/debian:bookworm-slim

FROM ${BASE} AS build
# 1: the modules that messages pass through are compiled (README.md, "Beside the C daemon").
ARG COMPILE=0
# Of another index of packages than PyPI, and the certificates that it is trusted by: --build-arg, --volume.
ARG PIP_INDEX_URL
ARG PIP_CERT
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 python3-venv \
    && if [ "$COMPILE" = 1 ]; then apt-get install --yes --no-install-recommends gcc libc6-dev python3-dev; fi
WORKDIR /source
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY protocol/totemd_protocol protocol/totemd_protocol
COPY packaging packaging
COPY src src
# pip compiles to bytecode, which an unprivileged process could not store later.
RUN python3 -m venv /opt/totemd \
    && TOTEMD_COMPILE=$COMPILE /opt/totemd/bin/pip install --no-cache-dir . \
    && /opt/totemd/bin/pip uninstall --yes --quiet setuptools pip \
    && rm -rf /opt/totemd/include /opt/totemd/share

FROM ${BASE}
# Group 0 may write where the daemon does, so that any user id will do (--user 12345, or one that a platform chooses).
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3-minimal libpython3-stdlib \
    && apt-get clean \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/* /usr/share/doc/* /usr/share/man/* /usr/share/locale/* \
    && useradd --system --uid 15405 --gid 0 --home-dir /var/lib/totemd --shell /usr/sbin/nologin totemd \
    && install --directory --owner totemd --group root --mode 0775 /etc/corosync /run/totemd /var/lib/totemd
COPY --from=build /opt/totemd /opt/totemd
ENV PATH=/opt/totemd/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin PYTHONDONTWRITEBYTECODE=1
USER 15405:0
VOLUME /var/lib/totemd
# The ring (5404 is only sent from), and joins.
EXPOSE 5405/udp 5406/tcp
# Status 2 is a daemon that answers and has no quorum, which restarting its container would not heal.
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD totemctl status >/dev/null || test $? -eq 2
ENTRYPOINT ["totemd"]
