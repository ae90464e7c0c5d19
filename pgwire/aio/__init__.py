"""The asyncio shell: transports, timers and the public `AsyncConnection`. It decides nothing."""
