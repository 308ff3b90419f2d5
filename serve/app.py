"""The Ray Serve application: sizes its deployments and connects them.

serve run serve.app:build_app bundle=OUT/bundle index=INDEX
serve deploy serve/config.yaml
"""

# No postponed annotations here: Ray Serve reads the type of the builder's argument.

from typing import Any

from ray import serve
from ray.serve import Application

from cirray.config.serving import Serving
from cirray.console.log import log
from cirray.errors import ConfigError
from cirray.index.backend import IndexBackend, check_fingerprint
from cirray.models.bundle_manifest import MANIFEST, read_bundle
from cirray.storage.location import Location
from serve.access import Access
from serve.encoder import Encoder
from serve.environment import DeploymentEnvironment, open_index
from serve.ingress import Ingress

_RETRY_AFTER_S = 1


def build_app(args: Serving) -> Application:
    """Builds the application; a wrong setting fails here, before anything is deployed.

    Raises:
        ConfigError, BundleError: no bundle is set, or it is incomplete.
        SearchIndexError: the index was made with another image tower.
    """
    backend, image_fingerprint = check(args)
    ingress: Any = serve.deployment(Ingress, name="ingress").options(**_ingress(args))
    encoder: Any = serve.deployment(Encoder, name="encoder").options(**_encoder(args))
    application: Application = ingress.bind(
        args, encoder.bind(args, image_fingerprint), DeploymentEnvironment.of(backend)
    )
    return application


def check(settings: Serving) -> tuple[IndexBackend, str]:
    """Checks bundle, key and index. An index without a published generation is valid.

    Returns:
        The index's backend, and the fingerprint of the bundle's image tower.

    Raises:
        As `build_app`.
    """
    if not settings.bundle:
        raise ConfigError("bundle is not set: give the bundle folder of a finished training, OUTPUT/bundle")
    image_fingerprint = str(read_bundle(Location.parse(settings.bundle).fetch(MANIFEST))["image_fingerprint"])
    Access.from_environment()
    backend = open_index(settings)
    published = backend.published()
    if published is None:
        log(f"{backend.where}: no generation is published yet: searches work once jobs/index.py has published one")
    else:
        check_fingerprint(backend.read(published), image_fingerprint, settings.bundle, backend.where)
    return backend, image_fingerprint


def _shared(settings: Serving) -> dict[str, Any]:
    return {
        "max_ongoing_requests": settings.max_ongoing,
        "max_queued_requests": settings.max_queued,
        "backpressure_config": {"status_code": 429, "retry_after_s": _RETRY_AFTER_S},
        "graceful_shutdown_timeout_s": settings.drain_s,
        "graceful_shutdown_wait_loop_s": 0.5,
        "health_check_period_s": 5.0,
        "max_surge_percent": 100,  # a new replica runs before an old one drains
    }


def _ingress(settings: Serving) -> dict[str, Any]:
    return {
        **_shared(settings),
        "num_replicas": settings.ingress_replicas,
        "ray_actor_options": {"num_cpus": settings.cpus},
    }


def _encoder(settings: Serving) -> dict[str, Any]:
    scaling = {
        "min_replicas": settings.encoder_replicas,
        "max_replicas": settings.encoder_replicas_max,
        "target_ongoing_requests": max(1, settings.max_batch // 2),
        "upscale_delay_s": settings.scale_up_s,
        "downscale_delay_s": settings.scale_down_s,
    }
    scales = settings.encoder_replicas_max > settings.encoder_replicas
    replicas = {"autoscaling_config": scaling} if scales else {"num_replicas": settings.encoder_replicas}
    return {
        **_shared(settings),
        **replicas,
        "ray_actor_options": {"num_cpus": settings.cpus, "num_gpus": settings.gpus},
    }
