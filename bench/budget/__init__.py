"""What is measured of the API's budget, one module each with a ``measure()`` that returns its figures."""
