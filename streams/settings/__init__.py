"""What an operator may set, where it is read from, and what is said when it is wrong.

``model`` and ``sections`` have the settings themselves, ``kinds`` the values that several share. ``load`` lays the
environment over the file over the defaults, ``problems`` puts what is wrong into words, ``tree`` lists the settings for
error texts and documentation.
"""

from streams.settings.load import ConfigError, load_settings
from streams.settings.model import Settings
from streams.settings.sections import POLL_INTERVAL_MAX_S, REVOKE_BOUND_S, AccountSettings

__all__ = ["POLL_INTERVAL_MAX_S", "REVOKE_BOUND_S", "AccountSettings", "ConfigError", "Settings", "load_settings"]
