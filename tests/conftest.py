"""What holds for every test here."""

from hypothesis import HealthCheck, settings

# How long an example takes is the machine's business, and no rule of the product.
settings.register_profile("whence", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("whence")
