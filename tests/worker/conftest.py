"""Fixtures of the worker's tests."""

from tests.worker.virtual import play

__all__ = ["play"]
