"""What an operator sees: metrics, health, logs. Nothing here decides anything about intents."""
