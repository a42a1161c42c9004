# A small image with the command, Ansible and the Vault client; it runs as an ordinary user.
# The repository is mounted at /fleet, the one place that git trusts although another user owns it.
# Nothing is written but in /data, /srv/boot and /tmp, so that the rest may be read-only. No shell is needed.
#   docker build -t octofleet .
#   docker run --rm --read-only --tmpfs /tmp -v octofleet:/data -v "$PWD:/fleet:ro" octofleet plan --repo /fleet
FROM python:3.11-slim-bookworm AS build
WORKDIR /src
RUN python -m venv /opt/octofleet
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY reconciler reconciler
COPY renderers renderers
COPY schemas schemas
COPY webhooks webhooks
COPY example-repo example-repo
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels . \
    && /opt/octofleet/bin/pip install --no-cache-dir --constraint constraints.txt "$(echo /wheels/octofleet-*.whl)[alerts,ansible,vault,otel,postgresql,s3]"

FROM python:3.11-slim-bookworm
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git openssh-client bubblewrap \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --create-home octofleet \
    && install --directory --owner octofleet --group octofleet --mode 0700 /data /srv/boot \
    && git config --system --add safe.directory /fleet
COPY --from=build /opt/octofleet /opt/octofleet
ENV PATH=/opt/octofleet/bin:$PATH OCTOFLEET_DATA_DIR=/data OCTOFLEET_LISTEN=0.0.0.0:8080 PYTHONDONTWRITEBYTECODE=1 HOME=/data
USER 10001:10001
VOLUME /data
# 8080: people, programs, webhooks. 8069 and 8070: machines that boot, over HTTP and HTTPS. 69/udp: TFTP, 67/udp and 4011/udp: proxyDHCP (with --network host).
EXPOSE 8080 8069 8070 69/udp
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s CMD ["/opt/octofleet/bin/python", "-m", "reconciler.server.probe"]
ENTRYPOINT ["octofleet"]
CMD ["--help"]
