"""The services that have a socket of their own, by its name."""

from typing import Final

from totemd.qb import cfg, cmap, cpg, quorum, votequorum
from totemd.qb.api import QbService

QB_SERVICES: Final[dict[str, QbService]] = {
    service.name: service for service in (cmap.SERVICE, cfg.SERVICE, cpg.SERVICE, quorum.SERVICE, votequorum.SERVICE)
}
